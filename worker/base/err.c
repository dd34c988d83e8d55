/* base/err.c - see err.h. */
#include "base/err.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum vd_code vd_err_set(struct vd_err *err, enum vd_code code, bool retriable, const char *fmt, ...)
{
    va_list ap;

    if (err == NULL)
        return code;
    err->code = code;
    err->retriable = retriable;
    va_start(ap, fmt);
    (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    return code;
}

enum vd_code vd_err_wrap(struct vd_err *err, enum vd_code code, const char *fmt, ...)
{
    char cause[sizeof(err->msg)];
    va_list ap;
    int n;

    if (err == NULL)
        return code;
    memcpy(cause, err->msg, sizeof(cause));
    va_start(ap, fmt);
    n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(err->msg)) {
        size_t room = sizeof(err->msg) - (size_t)n;

        (void)snprintf(err->msg + n, room, ": %.*s", (int)room, cause);
    }
    return code;
}

enum vd_code vd_err_nomem(struct vd_err *err, const char *what)
{
    return vd_err_set(err, VD_E_NOMEM, true, "out of memory (%s)", what);
}

static const struct {
    const char *name;
    int exit_status;
} codes[] = {
    [VD_OK] = {"ok", EX_OK},
    [VD_E_NOMEM] = {"nomem", EX_OSERR},
    [VD_E_CONFIG] = {"config", EX_CONFIG},
    [VD_E_INPUT] = {"input", EX_DATAERR},
    [VD_E_LIMIT] = {"limit", EX_DATAERR},
    [VD_E_REMOTE] = {"remote", EX_UNAVAILABLE},
    [VD_E_TIMEOUT] = {"timeout", EX_TEMPFAIL},
    [VD_E_BUG] = {"bug", EX_SOFTWARE},
};

const char *vd_code_name(enum vd_code code)
{
    return codes[code].name;
}

int vd_code_exit(enum vd_code code)
{
    return codes[code].exit_status;
}
