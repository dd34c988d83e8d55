/* cel/cel.h - the Common Expression Language: declare names, compile once, evaluate many times.
 *
 * Why:      a policy's rules must be readable by people, bounded by construction, and judged by a public standard.
 * Source:   cel-spec (langdef.md; no protobuf messages), the strings extension, two-variable comprehensions; conformance: cel-spec
 *           tests/simple.
 * Thread:   compile anywhere; env and program are const after building and may be shared; an evaluation belongs to its arena.
 * Owns:     a program owns copies of its source and constants.
 * Adds:     beside CEL's own functions and those of the strings extension:
 *             sum(list)  min(list) max(list)  min(a, b, ...) max(a, b, ...)  abs(number), also as list.sum() and so on; sum adds
 *               ints as ints and, where a double is among them, all as doubles,
 *             list.min_by(x, key) list.max_by(x, key) list.sort_by(x, key): macros; the first of equal items wins, sorting is stable,
 *             index_of(list, value), list.index_of(value): -1 when there is none,
 *             minor_units("19.99", "USD") == 1999: exact, by ISO 4217; an error for an unknown currency or digits too many,
 *             get(a.b.c, other): a.b.c, or other where a step is absent or null; a macro,
 *             verified(evidence): what the context's function says.
 * Errors:   compile: VD_E_CONFIG, message "column 12: ..."; eval: VD_E_INPUT for CEL errors (no such key, overflow, ...),
 *           VD_E_LIMIT for the step budget and depth, VD_E_NOMEM for the arena.
 */
#ifndef VD_CEL_CEL_H
#define VD_CEL_CEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"
#include "json/json.h"

enum vd_cel_kind {
    VD_CEL_NULL,
    VD_CEL_BOOL,
    VD_CEL_INT,
    VD_CEL_UINT,
    VD_CEL_DOUBLE,
    VD_CEL_STRING, /* UTF-8 */
    VD_CEL_BYTES,
    VD_CEL_LIST,
    VD_CEL_MAP,
    VD_CEL_TYPE,
    VD_CEL_TIMESTAMP, /* seconds and nanos since the epoch, years 1 to 9999 */
    VD_CEL_DURATION,
    VD_CEL_ERROR, /* as a binding: using the name gives this error; never the result of a successful eval */
};

struct vd_cel_list; /* arena list */
struct vd_cel_map;  /* arena map */

/* Value type; what it points at is borrowed from a tree, a program or an arena. */
struct vd_cel_value {
    enum vd_cel_kind kind;
    bool
        is_json; /* LIST, MAP: u.json is a borrowed cJSON array or object, wrapped without copying */
    uint16_t line;   /* ERROR: where it arose, from 1; 0 when unknown */
    uint16_t column; /* ERROR: in code points, from 1 */
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double d;
        struct vd_span s; /* STRING, BYTES, TYPE (name), ERROR (message) */
        const cJSON *json;
        const struct vd_cel_list *list;
        const struct vd_cel_map *map;
        struct {
            int64_t s;
            int32_t ns;
        } t; /* TIMESTAMP, DURATION */
    } u;
};

/* -- names ------------------------------------------------------------------------------------------------------- */

struct vd_cel_env;

struct vd_cel_env *vd_cel_env_new(void); /* NULL when memory is out */
void *vd_cel_env_free(struct vd_cel_env *env);
/* Declare a variable. Its slot (0, 1, ...) indexes the values given to vd_cel_eval(). schema may be NULL (dynamic) or a JSON Schema
 * whose properties and types the checker then uses: a field it does not allow is a compile error with a suggestion. Borrowed until
 * the env is freed. */
enum vd_code vd_cel_env_declare(struct vd_cel_env *env, const char *name, const cJSON *schema,
                                unsigned *ret_slot, struct vd_err *err) VD_MUST_CHECK;
/* Namespace that unqualified names resolve in first (the suite's "container"); NULL is the root. */
enum vd_code vd_cel_env_set_container(struct vd_cel_env *env, const char *container) VD_MUST_CHECK;
size_t vd_cel_env_count(const struct vd_cel_env *env);
/* A lenient environment compiles whatever parses: unknown names and functions and wrong types are errors of evaluation then, which
 * && and || may absorb, as the standard's unchecked mode wants. The default is strict. */
void vd_cel_env_set_lenient(struct vd_cel_env *env, bool lenient);

/* -- programs ---------------------------------------------------------------------------------------------------- */

struct vd_cel_program;

enum vd_code vd_cel_compile(const struct vd_cel_env *env, struct vd_span source,
                            struct vd_cel_program **ret_program, struct vd_err *err) VD_MUST_CHECK;
void *vd_cel_program_free(struct vd_cel_program *program);
struct vd_span vd_cel_source(const struct vd_cel_program *program);
/* Does the program read the variable in slot? For dependency order and cycles. */
bool vd_cel_uses(const struct vd_cel_program *program, unsigned slot);

/* One step into a value: .field or ["field"], or [0], whichever item it is. */
struct vd_cel_step {
    struct vd_span field;
    bool is_item;
};
/* A place below a variable, as far as it is written out; count 0 is the variable itself. Borrowed until it returns. */
typedef bool vd_cel_read_fn(void *arg, const struct vd_cel_step *steps, size_t count);
/* Does fn hold for every place of the variable in slot that the program reads? True where it reads none. */
bool vd_cel_every_read(const struct vd_cel_program *program, unsigned slot, vd_cel_read_fn *fn,
                       void *arg);

/* The static result type where the checker knows it, VD_CEL_ERROR when dynamic. */
enum vd_cel_kind vd_cel_result_kind(const struct vd_cel_program *program);

/* What verified(evidence) asks: set by the policy engine; without it verified() is an error. */
typedef bool vd_cel_verified_fn(void *arg, const struct vd_cel_value *evidence);

struct vd_cel_eval_context {
    const struct vd_cel_value *values; /* one per declared slot */
    size_t count;
    struct vd_arena *arena; /* results live here */
    uint64_t max_steps;     /* 0: VD_CEL_MAX_STEPS */
    uint64_t steps;         /* out: steps spent, accumulates over calls that share the context */
    unsigned error_line; /* out: where the error of the last call arose, from 1; 0 when unknown */
    unsigned error_column;
    vd_cel_verified_fn *verified;
    void *verified_arg;
};

/* *ret_value is set on VD_OK only. */
enum vd_code vd_cel_eval(const struct vd_cel_program *program, struct vd_cel_eval_context *context,
                         struct vd_cel_value *ret_value, struct vd_err *err) VD_MUST_CHECK;

/* The place a compile error names, from its message; false when it names none. */
bool vd_cel_error_place(const struct vd_err *err, unsigned *ret_line, unsigned *ret_column);

/* -- values ------------------------------------------------------------------------------------------------------ */

/* JSON to CEL without copying: 4 is int, 4.0 double, an integer beyond int64 is uint if it fits, else double. node NULL is null.
 * The tree must outlive the value. */
struct vd_cel_value vd_cel_from_json(const cJSON *node);
/* Owned tree of a value. uint beyond int64 and timestamps, durations, bytes become what the CEL JSON mapping says. */
enum vd_code vd_cel_to_json(const struct vd_cel_value *value, cJSON **ret_node,
                            struct vd_err *err) VD_MUST_CHECK;
const char *vd_cel_kind_name(enum vd_cel_kind kind);
bool vd_cel_equal(const struct vd_cel_value *a, const struct vd_cel_value *b);
/* Numbers, strings, bytes, bools, timestamps, durations: -1, 0, 1 in *ret; false when they do not compare. */
bool vd_cel_compare(const struct vd_cel_value *a, const struct vd_cel_value *b, int *ret);
size_t vd_cel_size(const struct vd_cel_value *list_or_map);
/* Item i of a list; VD_CEL_ERROR when there is none. */
struct vd_cel_value vd_cel_item(const struct vd_cel_value *list, size_t i);

#endif
