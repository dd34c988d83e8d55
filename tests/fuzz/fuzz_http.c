/* Any bytes as an HTTP answer, cut into reads anywhere: no crash, the bounds hold, and the cuts change nothing. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "http/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER_MAX 512
#define BODY_MAX   256

struct outcome {
    enum vd_code code;
    bool whole, persistent;
    int status;
    size_t used, lines, line_bytes;
    struct vd_buf body;
};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void on_line(void *arg, struct vd_span name, struct vd_span value)
{
    struct outcome *o = arg;

    o->lines++;
    o->line_bytes += name.len + value.len;
    for (size_t i = 0; i < value.len; i++) /* every byte can be read */
        o->line_bytes += value.ptr[i] == '\n';
}

/* The first byte of the input says where to cut: 0 nowhere, else a read is that many bytes long and one more each time. */
static struct outcome read_all(struct vd_span text, size_t first)
{
    struct outcome o = {.used = 0};
    struct vd_http_message m;
    size_t step = first == 0 ? text.len : first;

    vd_buf_init(&o.body, BODY_MAX);
    vd_http_message_init(&m, HEADER_MAX, &o.body, on_line, &o);
    while (o.code == VD_OK && o.used < text.len && m.state != VD_HTTP_WHOLE) {
        struct vd_span piece = vd_span_sub(text, o.used, step);
        char *exact = vd_realloc(NULL, piece.len);
        size_t used = 0;

        memcpy(exact, piece.ptr, piece.len);
        o.code = vd_http_message_read(&m, (struct vd_span){exact, piece.len}, &used, NULL);
        must(used <= piece.len);
        must(used == piece.len || m.state == VD_HTTP_WHOLE || o.code != VD_OK);
        o.used += used;
        step++;
        exact = vd_free(exact);
    }
    if (o.code == VD_OK)
        o.code = vd_http_message_end(&m, NULL);
    o.whole = m.state == VD_HTTP_WHOLE;
    o.persistent = m.persistent;
    o.status = m.status;
    must(o.body.len <= BODY_MAX && o.line_bytes <= HEADER_MAX);
    must(o.code != VD_OK || (o.whole && o.status >= 200 && o.status <= 999));
    must(o.code != VD_E_NOMEM && o.code != VD_E_BUG);
    vd_http_message_fini(&m);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vd_span text = {(const char *)data + 1, size > 0 ? size - 1 : 0};
    struct outcome at_once, cut;

    if (size == 0)
        return 0;
    at_once = read_all(text, 0);
    cut = read_all(text, data[0] == 0 ? 1 : data[0]);
    must(at_once.code == cut.code && at_once.status == cut.status && at_once.lines == cut.lines);
    if (at_once.code == VD_OK) {
        must(at_once.used == cut.used && at_once.body.len == cut.body.len);
        must(at_once.body.len == 0 || memcmp(at_once.body.ptr, cut.body.ptr, cut.body.len) == 0);
    }
    vd_buf_free(&at_once.body);
    vd_buf_free(&cut.body);
    return 0;
}
