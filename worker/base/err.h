/* base/err.h - what a fallible function returns, and the words that go with it.
 *
 * Why:      most failures are remote, and the caller must know what it may do next, not only what happened.
 * Thread:   any; the caller supplies the struct. No allocation.
 * Errors:   three kinds. A bug asserts. An operational failure is a vd_code. A startup failure is a vd_code that main()
 *           prints, and turns into a sysexits(3) exit status.
 */
#ifndef VD_BASE_ERR_H
#define VD_BASE_ERR_H

#include <stdbool.h>
#include <stdarg.h>

#define VD_MUST_CHECK   __attribute__((warn_unused_result))
#define VD_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define VD_CLEANUP(fn)  __attribute__((cleanup(fn)))

enum vd_code {
    VD_OK = 0,
    VD_E_NOMEM,   /* allocation failed, or an arena or buffer cap was reached by our own data */
    VD_E_CONFIG,  /* settings, policy or schema: a person must change a file */
    VD_E_INPUT,   /* data from outside is not what it must be; trying again gives the same */
    VD_E_LIMIT,   /* a declared bound was reached (size, depth, steps, budget) */
    VD_E_REMOTE,  /* a peer answered badly or not at all; see retriable */
    VD_E_TIMEOUT, /* a deadline passed */
    VD_E_BUG,     /* cannot happen; reported instead of crashing only where data would be lost */
};

/* Value type. Callers may pass NULL where they want only the code. */
struct vd_err {
    enum vd_code code;
    bool retriable; /* the same call may succeed later */
    char msg[240];  /* cause; never a secret, never a payload */
};

/* Fill err (when not NULL) and return code, so that `return vd_err_set(...)` reads well. Always truncates, never fails. */
enum vd_code vd_err_set(struct vd_err *err, enum vd_code code, bool retriable, const char *fmt, ...)
    VD_PRINTF(4, 5);
/* Put "context: " in front of the message of err (when not NULL), keeping retriable, and return code. */
enum vd_code vd_err_wrap(struct vd_err *err, enum vd_code code, const char *fmt, ...)
    VD_PRINTF(3, 4);
/* The out-of-memory error; what names the thing that could not be allocated. */
enum vd_code vd_err_nomem(struct vd_err *err, const char *what);

const char *vd_code_name(enum vd_code code); /* "config", "input", ...; static */
/* Exit status by sysexits(3): 0 64 65 69 70 75 78. */
int vd_code_exit(enum vd_code code);

#endif
