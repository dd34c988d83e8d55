/* Answers in HTTP/1.1, as RFC 9112 has them and as it does not: the outcome is the same however the bytes are cut into reads. */
#include "unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "http/message.h"

#define BODY_MAX   20
#define HEADER_MAX 200

struct outcome {
    enum vd_code code;
    bool whole;
    int status;
    bool persistent;
    size_t left_over;
    char body[BODY_MAX + 1];
    char lines[512]; /* "name=value|" of the last response */
    struct vd_err err;
};

static void on_line(void *arg, struct vd_span name, struct vd_span value)
{
    struct outcome *o = arg;
    size_t used = strlen(o->lines);

    if (name.len == 0)
        o->lines[0] = '\0';
    else
        (void)snprintf(o->lines + used, sizeof(o->lines) - used, "%.*s=%.*s|", (int)name.len,
                       name.ptr, (int)value.len, value.len > 0 ? value.ptr : "");
}

/* Feeds text in pieces of step bytes, each in memory of its own, so that the sanitizer sees a read behind its end. */
static struct outcome read_in_pieces(struct vd_span text, size_t step, bool closed)
{
    struct outcome o = {0};
    struct vd_http_message m;
    struct vd_buf body;
    size_t at = 0;

    vd_buf_init(&body, BODY_MAX);
    vd_http_message_init(&m, HEADER_MAX, &body, on_line, &o);
    while (o.code == VD_OK && at < text.len && m.state != VD_HTTP_WHOLE) {
        struct vd_span piece = vd_span_sub(text, at, step);
        char *copy = vd_strndup(piece);
        char *exact = vd_realloc(NULL, piece.len);
        size_t used = 0;

        memcpy(exact, copy, piece.len);
        o.code = vd_http_message_read(&m, (struct vd_span){exact, piece.len}, &used, &o.err);
        assert_true(used == piece.len || m.state == VD_HTTP_WHOLE || o.code != VD_OK);
        at += used;
        (void)vd_free(copy);
        (void)vd_free(exact);
    }
    if (closed && o.code == VD_OK)
        o.code = vd_http_message_end(&m, &o.err);
    o.whole = o.code == VD_OK && m.state == VD_HTTP_WHOLE;
    o.status = m.status;
    o.persistent = o.whole && m.persistent;
    o.left_over = text.len - at;
    (void)snprintf(o.body, sizeof(o.body), "%s", body.len > 0 ? body.ptr : "");
    vd_http_message_fini(&m);
    vd_buf_free(&body);
    return o;
}

#define OK      "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK "transfer-encoding: chunked\r\n\r\n"

static const struct {
    const char *name, *text;
    bool closed;
    enum vd_code code;
    int status;
    bool persistent;
    const char *body; /* NULL: not whole */
    size_t left_over;
} rows[] = {
    /* whole */
    {"length", OK "Content-Length: 2\r\n\r\nhi", false, VD_OK, 200, true, "hi", 0},
    {"length 0", OK "content-length:0\r\n\r\n", false, VD_OK, 200, true, "", 0},
    {"length, and more behind it", OK "content-length: 2\r\n\r\nhiHTTP/1.1", false, VD_OK, 200,
     true, "hi", 8},
    {"bare line feeds", "HTTP/1.1 200 OK\ncontent-length: 2\n\nhi", false, VD_OK, 200, true, "hi",
     0},
    {"no reason", "HTTP/1.1 503\r\ncontent-length: 0\r\n\r\n", false, VD_OK, 503, true, "", 0},
    {"empty reason", "HTTP/1.1 503 \r\ncontent-length: 0\r\n\r\n", false, VD_OK, 503, true, "", 0},
    {"the same length twice", OK "content-length: 2\r\nContent-Length: 2\r\n\r\nhi", false, VD_OK,
     200, true, "hi", 0},
    {"close", OK "connection: close\r\ncontent-length: 2\r\n\r\nhi", false, VD_OK, 200, false, "hi",
     0},
    {"close among others", OK "connection: x , CLOSE\r\ncontent-length: 2\r\n\r\nhi", false, VD_OK,
     200, false, "hi", 0},
    {"1.0", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", false, VD_OK, 200, false, "hi", 0},
    {"1.0, kept", "HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 2\r\n\r\nhi", false,
     VD_OK, 200, true, "hi", 0},
    {"204", "HTTP/1.1 204 No\r\n\r\n", false, VD_OK, 204, true, "", 0},
    {"304 tells the length of what it does not send",
     "HTTP/1.1 304 No\r\ncontent-length: 9\r\n\r\n", false, VD_OK, 304, true, "", 0},
    {"until the end", OK "\r\nhi", true, VD_OK, 200, false, "hi", 0},
    {"until the end, empty", OK "\r\n", true, VD_OK, 200, false, "", 0},
    {"interim",
     "HTTP/1.1 100 Continue\r\nx: 1\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" OK
     "content-length: 2\r\n\r\nhi",
     false, VD_OK, 200, true, "hi", 0},
    {"chunks", CHUNKED "2\r\nhi\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", false, VD_OK, 200, true,
     "hi0123456789", 0},
    {"chunks with blanks behind the size", CHUNKED "2  \r\nhi\r\n0\t\r\n\r\n", false, VD_OK, 200,
     true, "hi", 0},
    {"leading zeros of a size", CHUNKED "0000000000002\r\nhi\r\n000\r\n\r\n", false, VD_OK, 200,
     true, "hi", 0},
    {"trailers", CHUNKED "1\r\nx\r\n0\r\nretry-after: 1\r\n\r\nrest", false, VD_OK, 200, true, "x",
     4},
    {"both lengths: chunked counts, and the connection ends",
     OK "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", false, VD_OK,
     200, false, "x", 0},
    {"exactly the most", OK "content-length: 20\r\n\r\n01234567890123456789", false, VD_OK, 200,
     true, "01234567890123456789", 0},
    /* not whole yet */
    {"nothing", "", false, VD_OK, 0, false, NULL, 0},
    {"half a status line", "HTTP/1.1 2", false, VD_OK, 0, false, NULL, 0},
    {"half a body", OK "content-length: 2\r\n\r\nh", false, VD_OK, 200, false, NULL, 0},
    {"chunks without their end", CHUNKED "2\r\nhi\r\n0\r\n", false, VD_OK, 200, false, NULL, 0},
    /* ended too early */
    {"closed at once", "", true, VD_E_REMOTE, 0, false, NULL, 0},
    {"closed in the headers", OK, true, VD_E_REMOTE, 200, false, NULL, 0},
    {"closed in the body", OK "content-length: 2\r\n\r\nh", true, VD_E_REMOTE, 200, false, NULL, 0},
    {"closed in a chunk", CHUNKED "3\r\nhi", true, VD_E_REMOTE, 200, false, NULL, 0},
    {"closed before the trailers' end", CHUNKED "0\r\n", true, VD_E_REMOTE, 200, false, NULL, 0},
    /* not HTTP/1.1 */
    {"another protocol", "SSH-2.0-x\r\n", false, VD_E_REMOTE, 0, false, NULL, 0},
    {"HTTP/2", "HTTP/2 200\r\n", false, VD_E_REMOTE, 0, false, NULL, 0},
    {"1.2", "HTTP/1.2 200 OK\r\n", false, VD_E_REMOTE, 0, false, NULL, 0},
    {"a status of two digits", "HTTP/1.1 20 OK\r\n", false, VD_E_REMOTE, 0, false, NULL, 0},
    {"a status of four digits", "HTTP/1.1 2000 OK\r\n", false, VD_E_REMOTE, 0, false, NULL, 0},
    {"a status below 100", "HTTP/1.1 099 OK\r\n", false, VD_E_REMOTE, 0, false, NULL, 0},
    {"101", "HTTP/1.1 101 Switching\r\n", false, VD_E_REMOTE, 0, false, NULL, 0},
    {"an empty line first", "\r\n", false, VD_E_REMOTE, 0, false, NULL, 0},
    {"no colon", OK "content-length 2\r\n", false, VD_E_REMOTE, 200, false, NULL, 0},
    {"a blank before the colon", OK "content-length : 2\r\n", false, VD_E_REMOTE, 200, false, NULL,
     0},
    {"a folded line", OK "x: 1\r\n y\r\n", false, VD_E_REMOTE, 200, false, NULL, 0},
    {"no name", OK ": 1\r\n", false, VD_E_REMOTE, 200, false, NULL, 0},
    {"a carriage return inside", OK "x: 1\ry: 2\r\n", false, VD_E_REMOTE, 200, false, NULL, 0},
    {"two lengths", OK "content-length: 2\r\ncontent-length: 3\r\n", false, VD_E_REMOTE, 200, false,
     NULL, 0},
    {"a list of lengths", OK "content-length: 2, 2\r\n", false, VD_E_REMOTE, 200, false, NULL, 0},
    {"a signed length", OK "content-length: +2\r\n", false, VD_E_REMOTE, 200, false, NULL, 0},
    {"a length without end", OK "content-length: 18446744073709551618\r\n", false, VD_E_REMOTE, 200,
     false, NULL, 0},
    {"a coding nobody asked for", OK "transfer-encoding: gzip, chunked\r\n", false, VD_E_REMOTE,
     200, false, NULL, 0},
    {"chunked twice", OK "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", false,
     VD_E_REMOTE, 200, false, NULL, 0},
    {"a size that is none", CHUNKED "x\r\n", false, VD_E_REMOTE, 200, false, NULL, 0},
    {"a signed size", CHUNKED "-1\r\n", false, VD_E_REMOTE, 200, false, NULL, 0},
    {"a size with a prefix", CHUNKED "0x2\r\n", false, VD_E_REMOTE, 200, false, NULL, 0},
    {"a size without end", CHUNKED "10000000000000002\r\n", false, VD_E_REMOTE, 200, false, NULL,
     0},
    {"a chunk longer than its size", CHUNKED "1\r\nhi\r\n", false, VD_E_REMOTE, 200, false, NULL,
     0},
    /* too much */
    {"one byte too long", OK "content-length: 21\r\n\r\n", false, VD_E_LIMIT, 200, false, NULL, 0},
    {"one byte too long, until the end", OK "\r\n012345678901234567890", true, VD_E_LIMIT, 200,
     false, NULL, 0},
    {"one byte too long, in chunks", CHUNKED "14\r\n01234567890123456789\r\n1\r\n", false,
     VD_E_LIMIT, 200, false, NULL, 0},
    {"a size above all", CHUNKED "FFFFFFFFFFFFFF\r\n", false, VD_E_LIMIT, 200, false, NULL, 0},
};

static void assert_outcome(size_t row, size_t step)
{
    struct vd_span text = vd_span_of(rows[row].text);
    struct outcome o = read_in_pieces(text, step, rows[row].closed);
    bool whole = rows[row].body != NULL;

    if (o.code != rows[row].code || o.status != rows[row].status || o.whole != whole)
        fail_msg("%s, %zu at once: %s, status %d, %s (%s)", rows[row].name, step,
                 vd_code_name(o.code), o.status, o.whole ? "whole" : "not whole", o.err.msg);
    if (o.persistent != rows[row].persistent)
        fail_msg("%s, %zu at once: persistent %d", rows[row].name, step, o.persistent);
    if (whole && (strcmp(o.body, rows[row].body) != 0 || o.left_over != rows[row].left_over))
        fail_msg("%s, %zu at once: \"%s\", %zu left", rows[row].name, step, o.body, o.left_over);
    if (o.code != VD_OK)
        assert_true(strncmp(o.err.msg, "HTTP: ", 6) == 0);
    assert_int_equal(o.err.retriable, o.code == VD_E_REMOTE);
}

static void an_answer_is_the_same_however_it_arrives(void **state)
{
    (void)state;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++)
        for (size_t step = 1; step <= strlen(rows[row].text) + 1; step++)
            assert_outcome(row, step);
}

static void lines_are_told_of_the_last_response_without_its_trailers(void **state)
{
    const char *text = "HTTP/1.1 100 Continue\r\nx: 1\r\n\r\n" OK "A: \t1 2 \r\nempty:\r\n"
                       "transfer-encoding: chunked\r\n\r\n0\r\nretry-after: 9\r\n\r\n";

    (void)state;
    for (size_t step = 1; step < 120; step += 7) {
        struct outcome o = read_in_pieces(vd_span_of(text), step, false);

        assert_true(o.whole);
        assert_string_equal(o.lines, "A=1 2|empty=|transfer-encoding=chunked|");
    }
}

/* All header lines of an exchange count together: of interim responses and trailers, too. */
static void header_lines_are_bounded_together(void **state)
{
    static const struct {
        const char *before, *line, *after;
    } rounds[] = {
        {OK, "x: 0123456789\r\n", "content-length: 0\r\n\r\n"},
        {"", "HTTP/1.1 100 x\r\n\r\n", OK "content-length: 0\r\n\r\n"},
        {CHUNKED "0\r\n", "x: 0123456789\r\n", "\r\n"},
    };
    char text[2000];

    (void)state;
    for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
        size_t count = 0, passed = 0;

        for (; count < 40; count++) {
            size_t n = (size_t)snprintf(text, sizeof(text), "%s", rounds[i].before);
            struct outcome o;

            for (size_t j = 0; j < count; j++)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", rounds[i].line);
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", rounds[i].after);
            o = read_in_pieces((struct vd_span){text, n}, n, false);
            assert_int_equal(read_in_pieces((struct vd_span){text, n}, 1, false).code, o.code);
            if (o.code == VD_E_LIMIT)
                break;
            assert_true(o.whole);
            passed = n;
        }
        assert_in_range(passed, HEADER_MAX - 60, HEADER_MAX + 20);
    }
}

static void a_line_without_an_end_is_bounded(void **state)
{
    static char text[4 * HEADER_MAX];
    size_t steps[] = {1, 7, sizeof(text)};

    (void)state;
    memset(text, 'x', sizeof(text));
    memcpy(text, CHUNKED, sizeof(CHUNKED) - 1);
    for (size_t i = 0; i < 3; i++) {
        struct vd_span all = {text, sizeof(text)}, line = {text + 100, sizeof(text) - 100};
        char *sized = text + sizeof(CHUNKED) - 1;

        sized[0] = '1';
        sized[1] = ';';
        assert_int_equal(read_in_pieces(all, steps[i], false).code, VD_E_LIMIT);
        assert_int_equal(read_in_pieces(line, steps[i], false).code, VD_E_LIMIT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_the_same_however_it_arrives),
        cmocka_unit_test(lines_are_told_of_the_last_response_without_its_trailers),
        cmocka_unit_test(header_lines_are_bounded_together),
        cmocka_unit_test(a_line_without_an_end_is_bounded),
    };

    return cmocka_run_group_tests_name("http message", tests, NULL, NULL);
}
