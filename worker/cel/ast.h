/* cel/ast.h - the tree of an expression, and the program that owns it.
 *
 * Why:      one tree serves all phases: the parser builds it, the checker rewrites its names into slots and functions in place,
 *           the evaluator walks it.
 * Thread:   a program is const after vd_cel_compile().
 * Owns:     the program's arena holds nodes, source, constants; regexes are PCRE2 objects on its list.
 * Invariants:
 *   I1 height of every node <= VD_CEL_MAX_HEIGHT, so recursion over a tree is bounded.
 *   I2 after checking there is no IDENT and no SELECT whose base is a variable without macro in between (they are PATHs).
 */
#ifndef VD_CEL_AST_H
#define VD_CEL_AST_H

#include "cel/value.h"

enum vd_cel_op {
    VD_CEL_OP_CONST,
    VD_CEL_OP_IDENT,  /* name as written; gone after checking */
    VD_CEL_OP_SELECT, /* operand.field */
    VD_CEL_OP_HAS,    /* has(operand.field) */
    VD_CEL_OP_PATH,   /* variable or macro variable, then fields: event.data.id */
    VD_CEL_OP_FAIL, /* what the checker found wrong in a lenient environment: an error when evaluated */
    VD_CEL_OP_AND,
    VD_CEL_OP_OR,
    VD_CEL_OP_NOT,
    VD_CEL_OP_NEGATE,
    VD_CEL_OP_IF,
    VD_CEL_OP_ADD,
    VD_CEL_OP_SUB,
    VD_CEL_OP_MUL,
    VD_CEL_OP_DIV,
    VD_CEL_OP_MOD,
    VD_CEL_OP_EQ,
    VD_CEL_OP_NE,
    VD_CEL_OP_LT,
    VD_CEL_OP_LE,
    VD_CEL_OP_GT,
    VD_CEL_OP_GE,
    VD_CEL_OP_IN,
    VD_CEL_OP_INDEX,
    VD_CEL_OP_LIST,
    VD_CEL_OP_MAP,  /* args: key, value, key, value, ... */
    VD_CEL_OP_CALL, /* name(args), or args[0].name(args[1..]) */
    VD_CEL_OP_MACRO,
};

enum vd_cel_macro {
    VD_CEL_MACRO_ALL,
    VD_CEL_MACRO_EXISTS,
    VD_CEL_MACRO_EXISTS_ONE,
    VD_CEL_MACRO_TO_LIST, /* map, transformList */
    VD_CEL_MACRO_FILTER,
    VD_CEL_MACRO_TO_MAP,       /* transformMap */
    VD_CEL_MACRO_TO_MAP_ENTRY, /* transformMapEntry */
    VD_CEL_MACRO_MIN_BY,
    VD_CEL_MACRO_MAX_BY,
    VD_CEL_MACRO_SORT_BY,
};

struct vd_cel_regex;
struct vd_cel_function;

struct vd_cel_node {
    enum vd_cel_op op;
    uint16_t line; /* both from 1; column counts code points */
    uint16_t column;
    uint16_t height; /* 1 for a leaf */
    uint32_t kinds;  /* what it may evaluate to: VD_CEL_M bits, set by the checker */
    const cJSON
        *schema; /* what describes its value, or NULL; with the document it stands in, for $ref */
    const cJSON *schema_root;
    struct vd_cel_node *next; /* parser only: siblings of a list being read */
    struct vd_cel_node **args;
    uint32_t arg_count;
    union {
        struct vd_cel_value constant; /* CONST */
        bool is_get;                  /* IF: what get() became */
        struct {
            struct vd_span name; /* IDENT, SELECT, HAS, CALL; NUL-terminated. FAIL: the message */
            bool is_absolute;    /* written with a leading dot */
            bool is_method;      /* CALL: args[0] stands before the dot */
            const struct vd_cel_function *function;
            const void
                *prepared; /* CALL: compiled regex or time zone, when that argument is constant */
        } call;
        struct {
            const struct vd_span *fields;
            uint32_t count;
            uint16_t slot;
            bool is_local;
        } path;
        struct {
            enum vd_cel_macro kind;
            bool has_filter;         /* args: range, [filter], body */
            bool has_index;          /* two variables */
            struct vd_span names[2]; /* one variable: names[1] only */
            uint16_t first_local;    /* locals[first_local] is names[0] */
        } macro;
    } u;
};

struct vd_cel_program {
    struct vd_arena arena;
    struct vd_span source;
    struct vd_cel_node *root;
    bool *uses; /* by slot */
    size_t slot_count;
    struct vd_cel_regex *regexes; /* linked; freed with the program */
};

#endif
