/* base/diag.c - see diag.h. */
#include "base/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"

void vd_diags_init(struct vd_diags *diags)
{
    *diags = (struct vd_diags){0};
}

void vd_diags_fini(struct vd_diags *diags)
{
    for (size_t i = 0; i < diags->count; i++) {
        vd_free(diags->items[i].file);
        vd_free(diags->items[i].what);
        vd_free(diags->items[i].hint);
    }
    vd_free(diags->items);
    *diags = (struct vd_diags){0};
}

static bool same(const struct vd_diag *d, const char *file, unsigned line, const char *what)
{
    return d->line == line && strcmp(d->what, what) == 0 && (d->file == NULL) == (file == NULL) &&
           (file == NULL || strcmp(d->file, file) == 0);
}

static void VD_PRINTF(6, 0) add(struct vd_diags *diags, enum vd_diag_level level, const char *file,
                                unsigned line, const char *hint, const char *fmt, va_list ap)
{
    char what[512];
    struct vd_diag d = {.level = level, .line = line};

    (void)vsnprintf(what, sizeof(what), fmt, ap);
    for (size_t i = 0; i < diags->count; i++)
        if (same(&diags->items[i], file, line, what))
            return;
    if (level == VD_DIAG_ERROR)
        diags->errors++;
    else
        diags->warnings++;
    if (diags->count == VD_DIAG_MAX)
        return;
    if (diags->count == diags->cap) {
        size_t cap = diags->cap == 0 ? 8 : diags->cap * 2;
        struct vd_diag *grown = vd_realloc_array(diags->items, cap, sizeof(*grown));

        if (grown == NULL)
            return;
        diags->items = grown;
        diags->cap = cap;
    }
    d.what = vd_strdup(what);
    d.file = vd_strdup(file);
    d.hint = vd_strdup(hint);
    if (d.what == NULL || (file != NULL && d.file == NULL)) {
        vd_free(d.what);
        vd_free(d.file);
        vd_free(d.hint);
        return;
    }
    diags->items[diags->count++] = d;
}

void vd_diag_error(struct vd_diags *diags, const char *file, unsigned line, const char *hint,
                   const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add(diags, VD_DIAG_ERROR, file, line, hint, fmt, ap);
    va_end(ap);
}

void vd_diag_warning(struct vd_diags *diags, const char *file, unsigned line, const char *hint,
                     const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add(diags, VD_DIAG_WARNING, file, line, hint, fmt, ap);
    va_end(ap);
}

static int by_place(const struct vd_diag *a, const struct vd_diag *b)
{
    int files = strcmp(a->file == NULL ? "" : a->file, b->file == NULL ? "" : b->file);

    if (files != 0)
        return files;
    return a->line < b->line ? -1 : a->line > b->line;
}

/* Insertion sort: stable, and the list is short. */
void vd_diags_sort(struct vd_diags *diags)
{
    for (size_t i = 1; i < diags->count; i++) {
        struct vd_diag d = diags->items[i];
        size_t j = i;

        for (; j > 0 && by_place(&diags->items[j - 1], &d) > 0; j--)
            diags->items[j] = diags->items[j - 1];
        diags->items[j] = d;
    }
}

enum vd_code vd_diags_write(const struct vd_diags *diags, struct vd_buf *out)
{
    for (size_t i = 0; i < diags->count; i++) {
        const struct vd_diag *d = &diags->items[i];

        if (d->file != NULL)
            (void)vd_buf_addf(out, "%s:", d->file);
        if (d->line > 0)
            (void)vd_buf_addf(out, "%u:", d->line);
        (void)vd_buf_addf(out, "%s%s: %s\n", d->file != NULL || d->line > 0 ? " " : "",
                          d->level == VD_DIAG_ERROR ? "error" : "warning", d->what);
        if (d->hint != NULL)
            (void)vd_buf_addf(out, "    write: %s\n", d->hint);
    }
    if (diags->errors + diags->warnings > diags->count)
        (void)vd_buf_addf(out, "and %zu more\n", diags->errors + diags->warnings - diags->count);
    return out->failed;
}

enum vd_code vd_diags_result(const struct vd_diags *diags, struct vd_err *err)
{
    if (diags->errors == 0)
        return VD_OK;
    for (size_t i = 0; i < diags->count; i++) {
        const struct vd_diag *d = &diags->items[i];
        char more[40] = "";

        if (d->level != VD_DIAG_ERROR)
            continue;
        if (diags->errors > 1)
            (void)snprintf(more, sizeof(more), " (and %zu more)", diags->errors - 1);
        return vd_err_set(err, VD_E_CONFIG, false, "%s:%u: %.150s%s",
                          d->file == NULL ? "-" : d->file, d->line, d->what, more);
    }
    return vd_err_set(err, VD_E_CONFIG, false, "%zu errors", diags->errors);
}

/* Edit distance with swaps counted as one, for words up to 63 bytes. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    size_t row[3][64];

    if (n > 62 || m > 62)
        return 99;
    for (size_t j = 0; j <= m; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *two = row[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = before[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);

            if (before[j] + 1 < best)
                best = before[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                two[j - 2] + 1 < best)
                best = two[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *vd_closest(const char *word, const char *const *candidates)
{
    const char *found = NULL;
    size_t best = strlen(word) / 3 + 2; /* one mistake in short words, a third of long ones */

    for (size_t i = 0; candidates[i] != NULL; i++) {
        size_t d = distance(word, candidates[i]);

        if (d < best && d < strlen(candidates[i])) {
            best = d;
            found = candidates[i];
        }
    }
    return found;
}
