/* base/conf.h - libconfig files as a typed tree that remembers where everything was written, and tables that read it.
 *
 * Why:      settings and policies are written by people: every mistake must come back with file, line and what to write instead,
 *           all at once; and libconfig 1.5 has traps that a scan in front of its parser catches: integers above 32 bits without
 *           L wrap silently, an unclosed quote is reported where the parser gave up, a trailing comma is refused by 1.5 and
 *           accepted by 1.7, a NUL ends the file, `\x` escapes make bytes that are not UTF-8.
 * Source:   libconfig manual 1.5 to 1.8; the part of the syntax that all of them read the same way.
 * Thread:   one owner while loading; const afterwards.
 * Owns:     struct vd_conf owns the tree and every string that was read from it, until vd_conf_free().
 * Rules:    a string literal ends on its line (adjacent literals are joined); names have no dots; @include stays in the root folder.
 * Units:    a row states its unit; `_ms` and the like are part of the name.
 * Errors:   problems of the files go to a struct vd_diags; only memory and unreadable files are a vd_code.
 */
#ifndef VD_BASE_CONF_H
#define VD_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/span.h"

struct vd_conf;

enum vd_conf_kind {
    VD_CONF_BOOL,
    VD_CONF_INT,
    VD_CONF_FLOAT,
    VD_CONF_STRING,
    VD_CONF_GROUP, /* named members */
    VD_CONF_LIST,  /* list or array: unnamed items */
};

/* Read-only for callers; borrowed from its struct vd_conf. */
struct vd_conf_node {
    enum vd_conf_kind kind;
    const char *name; /* NULL for items and the root */
    const char *path; /* "actions.retry.params", "redact.[0]"; "" for the root */
    const char *file;
    unsigned line;
    union {
        bool b;
        int64_t i;
        double d;
        struct vd_span s; /* UTF-8 without NUL, and a NUL after it */
    } u;
    const struct vd_conf_node *parent;
    const struct vd_conf_node *first; /* GROUP, LIST: children in the order written */
    const struct vd_conf_node *next;
    size_t count; /* children */
};

/* -- files ------------------------------------------------------------------------------------------------------- */

/* Load a file. root: folder that @include must stay in, NULL for the file's own folder. With errors in the file the call returns
 * VD_E_CONFIG, *ret_conf is NULL, and diags has them all. */
enum vd_code vd_conf_load(const char *path, const char *root, struct vd_diags *diags,
                          struct vd_conf **ret_conf, struct vd_err *err) VD_MUST_CHECK;
/* The same from memory; name stands for the file in diagnostics. @include is refused. */
enum vd_code vd_conf_parse(struct vd_span text, const char *name, struct vd_diags *diags,
                           struct vd_conf **ret_conf, struct vd_err *err) VD_MUST_CHECK;
/* A tree with an empty root: all defaults, or only the environment. */
enum vd_code vd_conf_empty(struct vd_conf **ret_conf, struct vd_err *err) VD_MUST_CHECK;
void *vd_conf_free(struct vd_conf *conf);

const struct vd_conf_node *vd_conf_root(const struct vd_conf *conf);
/* A member of a group; NULL when absent or when group is NULL or no group. */
const struct vd_conf_node *vd_conf_get(const struct vd_conf_node *group, const char *name);
/* "kafka.brokers" from group downwards. */
const struct vd_conf_node *vd_conf_find(const struct vd_conf_node *group, const char *path);
const char *vd_conf_kind_name(enum vd_conf_kind kind); /* "string", "group", ... */
/* The value as written, shortened for a message: "\"fallbak\"", "12", "a group". */
void vd_conf_show(const struct vd_conf_node *node, char *out, size_t size);

/* -- tables ------------------------------------------------------------------------------------------------------ */

enum vd_conf_type {
    VD_CONF_T_BOOL,    /* bool */
    VD_CONF_T_INT,     /* int64_t, min..max */
    VD_CONF_T_NUMBER,  /* double, min..max; an integer is read as one */
    VD_CONF_T_STRING,  /* const char *, NUL-terminated; min..max bytes when max > 0 */
    VD_CONF_T_ENUM,    /* int: index of the word in choices */
    VD_CONF_T_STRINGS, /* struct vd_conf_strings: a list of strings, or one string */
    VD_CONF_T_NODE, /* const struct vd_conf_node *: not looked into; whoever owns the row reads it */
};

struct vd_conf_strings {
    const char **items; /* borrowed from the conf */
    size_t count;
};

/* flags */
#define VD_CONF_REQUIRED 1u /* absent is an error */
#define VD_CONF_SECRET   2u /* masked in dumps, never in a diagnostic */
#define VD_CONF_RELOAD   4u /* may change while running */
#define VD_CONF_NO_ENV   8u /* no environment override */

/* One setting. A table ends with a row whose name is NULL. */
struct vd_conf_row {
    const char *name; /* dotted path below the group that is read: "kafka.brokers" */
    enum vd_conf_type type;
    size_t offset; /* of the field in the target struct */
    const char *
        fallback; /* default as a person would write it, without quotes; NULL: zero. STRINGS: separated by commas */
    int64_t min, max; /* both 0: unbounded */
    const char *unit; /* "ms", "bytes", ...; NULL: none */
    unsigned flags;
    const char *doc;            /* one or two sentences */
    const char *const *choices; /* ENUM: NULL-terminated */
};

/* Looks a variable up; NULL when unset. name is "VERDICT_KAFKA_BROKERS". */
typedef const char *vd_conf_env_fn(void *arg, const char *name);

struct vd_conf_env {
    vd_conf_env_fn *get; /* NULL: no overrides */
    void *arg;
    const char *prefix; /* "VERDICT" */
};

/* The process environment: {vd_conf_getenv, NULL, "VERDICT"}. */
const char *vd_conf_getenv(void *arg, const char *name);

/* Read group (may be NULL: nothing written) into target by rows: defaults first, then the file, then the environment. Unknown
 * names are errors with a suggestion; every error of the group is added to diags. Strings are borrowed from conf. where names the
 * place of a missing required row ("policy"); env may be NULL. Returns VD_E_NOMEM only for memory. */
enum vd_code vd_conf_read(struct vd_conf *conf, const struct vd_conf_node *group,
                          const struct vd_conf_row *rows, void *target,
                          const struct vd_conf_env *env, struct vd_diags *diags,
                          struct vd_err *err) VD_MUST_CHECK;

/* target as a libconfig file that reads back equal; secrets as "********" (unset ones as ""). */
enum vd_code vd_conf_dump(const struct vd_conf_row *rows, const void *target, struct vd_buf *out);
/* A Markdown table: name, type, default, range, unit, environment variable, what it is. */
enum vd_code vd_conf_reference(const struct vd_conf_row *rows, const char *env_prefix,
                               struct vd_buf *out);
/* Calls changed() for every row in which a and b differ; NODE rows are compared by content. */
typedef void vd_conf_changed_fn(void *arg, const struct vd_conf_row *row);
void vd_conf_diff(const struct vd_conf_row *rows, const void *a, const void *b,
                  vd_conf_changed_fn *changed, void *arg);

#endif
