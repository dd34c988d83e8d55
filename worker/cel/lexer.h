/* cel/lexer.h - source text to tokens.
 *
 * Source:   cel-spec langdef.md, Syntax: the lexis; String and Bytes Values: escapes.
 * Thread:   any; pure. Tokens borrow the source, decoded strings live in the arena.
 * Errors:   VD_E_CONFIG with "column N: reason"; lines are named from the second on.
 */
#ifndef VD_CEL_LEXER_H
#define VD_CEL_LEXER_H

#include "cel/value.h"

enum vd_cel_token_kind {
    VD_CEL_T_END,
    VD_CEL_T_IDENT,
    VD_CEL_T_QUOTED, /* `a-b`: a field's name that is no identifier */
    VD_CEL_T_CONST,  /* literal; value is set */
    VD_CEL_T_IN,
    VD_CEL_T_AND,
    VD_CEL_T_OR,
    VD_CEL_T_EQ,
    VD_CEL_T_NE,
    VD_CEL_T_LE,
    VD_CEL_T_GE,
    VD_CEL_T_CHAR, /* one of + - * / % < > ! ? : . , ( ) [ ] { }, in c */
};

struct vd_cel_token {
    enum vd_cel_token_kind kind;
    char c;
    bool is_reserved; /* IDENT: a word that only a field may have as its name */
    bool is_min_int;  /* CONST: 9223372036854775808, an int only with a minus in front */
    uint16_t line;
    uint16_t column;
    struct vd_span text; /* as written; QUOTED: without the quotes */
    struct vd_cel_value value;
};

struct vd_cel_lexer {
    struct vd_span source;
    size_t pos;
    size_t column_pos; /* pos up to which line and column are counted */
    uint16_t line;
    uint16_t column;
    struct vd_arena *arena;
    struct vd_err *err;
};

void vd_cel_lexer_init(struct vd_cel_lexer *lx, struct vd_span source, struct vd_arena *arena,
                       struct vd_err *err);
enum vd_code vd_cel_lexer_next(struct vd_cel_lexer *lx, struct vd_cel_token *ret) VD_MUST_CHECK;

/* "column 12: ..." (or "line 2, column 5: ...") into err. */
enum vd_code vd_cel_error_at(struct vd_err *err, unsigned line, unsigned column, const char *fmt,
                             ...) VD_PRINTF(4, 5);

#endif
