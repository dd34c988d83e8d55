/* base/diag.h - a list of things a person has to correct in files: every error at once, each with its place.
 *
 * Why:      a settings or policy file is corrected in one go, not error by error.
 * Thread:   one owner at a time.
 * Owns:     its texts until vd_diags_fini().
 * Shapes:   one diagnostic prints as
 *               policies/billing/dunning.cfg:12: error: unknown name "requires" in actions.retry
 *                   write: require
 * Errors:   adding never fails: past VD_DIAG_MAX, or without memory, the diagnostic is only counted.
 */
#ifndef VD_BASE_DIAG_H
#define VD_BASE_DIAG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum vd_diag_level { VD_DIAG_ERROR, VD_DIAG_WARNING };

struct vd_diag {
    enum vd_diag_level level;
    char *file; /* NULL: no file, e.g. an environment variable */
    unsigned line;
    char *what; /* with the offending text in it */
    char *hint; /* what to write instead; NULL when there is nothing to add */
};

struct vd_diags {
    struct vd_diag *items;
    size_t count;
    size_t cap;
    size_t errors;   /* errors added, kept or not */
    size_t warnings; /* warnings added, kept or not */
};

void vd_diags_init(struct vd_diags *diags);
void vd_diags_fini(struct vd_diags *diags);
/* hint may be NULL. The same place and text twice is kept once. */
void vd_diag_error(struct vd_diags *diags, const char *file, unsigned line, const char *hint,
                   const char *fmt, ...) VD_PRINTF(5, 6);
void vd_diag_warning(struct vd_diags *diags, const char *file, unsigned line, const char *hint,
                     const char *fmt, ...) VD_PRINTF(5, 6);
/* By file and line, keeping the order of those on one line. */
void vd_diags_sort(struct vd_diags *diags);
/* All of them as text, as in the block above. */
enum vd_code vd_diags_write(const struct vd_diags *diags, struct vd_buf *out);
/* VD_OK when there is no error, else VD_E_CONFIG with the first one and how many more. */
enum vd_code vd_diags_result(const struct vd_diags *diags, struct vd_err *err);

/* The candidate most like word, for "did you mean"; NULL when none is close. candidates is NULL-terminated. */
const char *vd_closest(const char *word, const char *const *candidates);

#endif
