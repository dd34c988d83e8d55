/* cel/suggest.c - "did you mean"; see check.h. */
#include "cel/check.h"

#include <stdio.h>
#include <string.h>

#define MAX_WORD 48 /* longer names are not compared */

/* Edit distance with swaps of neighbours as one edit (optimal string alignment). Both at most MAX_WORD long. */
static size_t distance_of(struct vd_span a, struct vd_span b)
{
    size_t rows[3][MAX_WORD + 1];

    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t *row = rows[i % 3];
        const size_t *last = rows[(i + 2) % 3];
        const size_t *before = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t best = last[j - 1] + (a.ptr[i - 1] != b.ptr[j - 1]);

            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[a.len % 3][b.len];
}

void vd_cel_nearest_visit(void *arg, const char *name)
{
    struct vd_cel_nearest *n = arg;
    struct vd_span s = vd_span_of(name);
    size_t limit = n->wanted.len < 4 ? 1 : n->wanted.len < 8 ? 2 : 3;
    size_t d;

    if (s.len > MAX_WORD || n->wanted.len > MAX_WORD)
        return;
    d = distance_of(n->wanted, s);
    if (d <= limit && d < s.len && (n->best == NULL || d < n->distance)) {
        n->best = name;
        n->distance = d;
    }
}

void vd_cel_nearest_text(const struct vd_cel_nearest *n, char *text, size_t size)
{
    if (n->best != NULL)
        (void)snprintf(text, size, "; did you mean \"%s\"?", n->best);
    else
        text[0] = '\0';
}
