/* json/strict.h - the strict reader: is a text JSON, and what would cJSON lose of it?
 *
 * Why:      cJSON builds trees but is lenient; this pass refuses first and notes what the tree cannot show by itself.
 * Source:   RFC 8259 (grammar), RFC 3629 (UTF-8), RFC 7493 section 2 (duplicate keys, lone surrogates).
 * Thread:   any; pure. One pass, no recursion; memory for the keys of open objects and for the notes.
 * Owns:     nothing after it returns, except the notes, which are the caller's: vd_json_notes_fini().
 * Errors:   VD_E_INPUT, VD_E_LIMIT, VD_E_NOMEM; the message starts with "line L, column C: ". Columns count characters from 1.
 */
#ifndef VD_JSON_STRICT_H
#define VD_JSON_STRICT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

enum vd_json_note_what {
    VD_JSON_NOTE_INT,    /* an integer whose double is exact: set VD_JSON_INTEGER */
    VD_JSON_NOTE_DIGITS, /* an integer beyond 2^53: keep its digits */
    VD_JSON_NOTE_REAL, /* has an exponent or many digits: keep its digits if the double overflows */
    VD_JSON_NOTE_NUL,  /* a string that holds U+0000: len is its length once decoded */
};

/* About one value, in document order. */
struct vd_json_note {
    uint32_t node; /* ordinal of the value in document order, the root is 0 */
    uint32_t at;   /* offset of its text */
    uint32_t len;  /* bytes of its text, except VD_JSON_NOTE_NUL */
    enum vd_json_note_what what;
};

#define VD_JSON_NOTES_FIRST 64 /* most events have fewer; they need no memory from the heap */

struct vd_json_notes {
    struct vd_json_note *items; /* first, or on the heap */
    size_t count;
    size_t cap;
    struct vd_json_note first[VD_JSON_NOTES_FIRST];
};

void vd_json_notes_init(struct vd_json_notes *notes);
void vd_json_notes_fini(struct vd_json_notes *notes);

/* Check text. With notes (initialised by the caller): also fill them, and refuse keys that hold U+0000, since a tree cannot. */
enum vd_code vd_json_scan(struct vd_span text, struct vd_json_notes *notes,
                          struct vd_err *err) VD_MUST_CHECK;

#endif
