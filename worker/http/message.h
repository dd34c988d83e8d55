/* http/message.h - HTTP/1.1 responses as bytes: what is framing, what is a header line, what is body.
 *
 * Why:      libcurl's handling of a plain exchange costs three times its system calls (tests/bench/parts.c); see plain.c.
 * Source:   RFC 9112 (HTTP/1.1), RFC 9110 section 15.2 (interim responses).
 * Thread:   any; one owner. No sockets, no clock.
 * Owns:     the piece of a line that a read cut off; lines handed to on_line are borrowed until it returns.
 * Shapes:   a body is announced by length, chunked, or ends with the connection. Chunk extensions are skipped, trailers are read and
 *           dropped. No other transfer coding is read, and no content coding is undone.
 * Errors:   VD_E_LIMIT for header lines above header_max or a body above the buffer's max; VD_E_NOMEM; VD_E_REMOTE, retriable, for all
 *           that is not HTTP/1.x: bytes that two readers could frame differently are an error, not a guess.
 * Invariants:
 *   I1 how the bytes are cut into reads changes nothing.
 *   I2 after an error, or once whole, nothing more is read.
 */
#ifndef VD_HTTP_MESSAGE_H
#define VD_HTTP_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum vd_http_message_state {
    VD_HTTP_AT_STATUS,
    VD_HTTP_AT_HEADERS,
    VD_HTTP_AT_LENGTH,     /* body: `left` bytes to come */
    VD_HTTP_AT_CLOSE,      /* body: until the connection ends */
    VD_HTTP_AT_CHUNK_SIZE, /* chunked: a size line is next */
    VD_HTTP_AT_CHUNK,      /* chunked: `left` bytes of this chunk to come */
    VD_HTTP_AT_CHUNK_END,  /* chunked: the line end behind a chunk */
    VD_HTTP_AT_TRAILERS,
    VD_HTTP_WHOLE,
};

/* A header; or a status line, which has no name: what earlier lines said is over. Borrowed until it returns. */
typedef void vd_http_line_fn(void *arg, struct vd_span name, struct vd_span value);

struct vd_http_message {
    enum vd_http_message_state state;
    int status;      /* 0: no status line yet. Of the last response: interim ones are passed over */
    bool persistent; /* once whole: the connection may carry another request */
    bool chunked;    /* private from here */
    bool has_length;
    uint64_t left;
    size_t header_bytes;
    size_t header_max;
    struct vd_buf line;
    struct vd_buf *body; /* borrowed; its max is the body's bound */
    vd_http_line_fn *on_line;
    void *arg;
};

/* on_line gets each status line as (empty name, the line), then each header. body is appended to. */
void vd_http_message_init(struct vd_http_message *m, size_t header_max, struct vd_buf *body,
                          vd_http_line_fn *on_line, void *arg);
void vd_http_message_fini(struct vd_http_message *m);
/* Reads on. *ret_used < bytes.len only when the response is whole: what follows is not its own. */
enum vd_code vd_http_message_read(struct vd_http_message *m, struct vd_span bytes, size_t *ret_used,
                                  struct vd_err *err) VD_MUST_CHECK;
/* The connection has ended. VD_OK: that makes the response whole. */
enum vd_code vd_http_message_end(struct vd_http_message *m, struct vd_err *err) VD_MUST_CHECK;

#endif
