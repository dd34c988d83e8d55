/* commands/input.c - see input.h. */
#include "commands/input.h"

#include <errno.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/limits.h"
#include "json/utf8.h"

struct reader {
    char chunk[65536];
    size_t at;
    size_t len;
};

static bool fill(struct reader *r)
{
    ssize_t n;

    do
        n = read(STDIN_FILENO, r->chunk, sizeof(r->chunk));
    while (n < 0 && errno == EINTR);
    r->at = 0;
    r->len = n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* The next line of standard input without its newline, whatever its bytes. False at the end. A line that is too long is read
 * to its end and leaves line->failed set. */
static bool next_line(struct reader *r, struct vd_buf *line)
{
    bool any = false;

    vd_buf_clear(line);
    while (r->at < r->len || fill(r)) {
        struct vd_span rest = {r->chunk + r->at, r->len - r->at};
        size_t end = vd_span_find(rest, '\n');

        any = true;
        (void)vd_buf_add(line, vd_span_sub(rest, 0, end));
        r->at += end < rest.len ? end + 1 : end;
        if (end < rest.len)
            return true;
    }
    return any;
}

void vd_input_answer_error(struct vd_buf *out, const char *message)
{
    struct vd_span text = vd_span_of(message);
    size_t whole = 0;

    /* A message that was cut to its maximum may end inside a character. */
    while (whole < text.len) {
        size_t n = vd_utf8_len(text.ptr + whole, text.ptr + text.len);

        if (n == 0)
            break;
        whole += n;
    }
    (void)vd_buf_add_c(out, "{\"error\":");
    (void)vd_buf_add_json_string(out, vd_span_sub(text, 0, whole));
    (void)vd_buf_add_char(out, '}');
}

static void answer_line(const struct vd_buf *line, vd_input_row_fn *answer, void *arg,
                        struct vd_buf *out)
{
    struct vd_err err = {.msg = ""};
    cJSON *row = NULL;

    if (line->failed != VD_OK)
        vd_input_answer_error(out, "the line is too long");
    else if (vd_json_parse(vd_buf_span(line), &row, &err) != VD_OK)
        vd_input_answer_error(out, err.msg);
    else if (!cJSON_IsObject(row))
        vd_input_answer_error(out, "the line is not a JSON object");
    else
        answer(arg, row, out);
    (void)vd_json_free(row);
}

int vd_input_batch(vd_input_row_fn *answer, void *arg)
{
    struct reader reader = {.at = 0};
    struct vd_buf line;
    struct vd_buf out;
    int status = EX_OK;

    vd_buf_init(&line, VD_JSON_MAX_BYTES);
    vd_buf_init(&out, VD_JSON_MAX_BYTES);
    while (status == EX_OK && next_line(&reader, &line)) {
        vd_buf_clear(&out);
        answer_line(&line, answer, arg, &out);
        if (out.failed != VD_OK) {
            vd_buf_clear(&out);
            vd_input_answer_error(&out, "the answer is too long");
        }
        (void)vd_buf_add_char(&out, '\n');
        if (fwrite(out.ptr, 1, out.len, stdout) != out.len || fflush(stdout) != 0)
            status = EX_IOERR;
    }
    vd_buf_free(&line);
    vd_buf_free(&out);
    return status;
}
