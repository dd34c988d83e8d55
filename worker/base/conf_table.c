/* base/conf_table.c - see conf.h: rows to structs, and back to text. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/conf.h"
#include "base/conf_tree.h"
#include "base/limits.h"

#define NAME_MAX_BYTES 160

struct reader {
    struct vd_conf *conf;
    const struct vd_conf_row *rows;
    char *target;
    const struct vd_conf_env *env;
    struct vd_diags *diags;
    bool nomem;
};

/* Where a value came from, for messages. */
struct origin {
    const char *file; /* NULL: the environment or a default */
    unsigned line;
    const char *name; /* "kafka.brokers" or "VERDICT_KAFKA_BROKERS" */
};

const char *vd_conf_getenv(void *arg, const char *name)
{
    (void)arg;
    return getenv(name);
}

static void env_name(const char *prefix, const char *path, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "%s_%s", prefix, path);

    for (size_t i = 0; i < n && i < size; i++)
        out[i] = out[i] == '.' || out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

static void range_text(const struct vd_conf_row *row, char *out, size_t size)
{
    const char *unit = row->unit != NULL ? row->unit : "";

    if (row->min == 0 && row->max == 0)
        (void)snprintf(out, size, "a %s%s%s",
                       row->type == VD_CONF_T_INT ? "whole number" : "number",
                       row->unit != NULL ? " of " : "", unit);
    else
        (void)snprintf(out, size, "a %s from %lld to %lld%s%s",
                       row->type == VD_CONF_T_INT ? "whole number" : "number", (long long)row->min,
                       (long long)row->max, row->unit != NULL ? " " : "", unit);
}

static void choices_text(const struct vd_conf_row *row, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; row->choices[i] != NULL && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s\"%s\"", i == 0 ? "" : " or ",
                                 row->choices[i]);
}

static void expected_text(const struct vd_conf_row *row, char *out, size_t size)
{
    switch (row->type) {
    case VD_CONF_T_BOOL:
        (void)snprintf(out, size, "true or false");
        break;
    case VD_CONF_T_INT:
    case VD_CONF_T_NUMBER:
        range_text(row, out, size);
        break;
    case VD_CONF_T_ENUM:
        choices_text(row, out, size);
        break;
    case VD_CONF_T_STRING:
        if (row->max > 0)
            (void)snprintf(out, size, "text in quotes, %lld to %lld bytes", (long long)row->min,
                           (long long)row->max);
        else
            (void)snprintf(out, size, "text in quotes");
        break;
    default:
        (void)snprintf(out, size, "a list of texts: [\"a\", \"b\"]");
        break;
    }
}

static void wrong(struct reader *r, const struct vd_conf_row *row, const struct origin *from,
                  const char *shown)
{
    char expected[256];

    expected_text(row, expected, sizeof(expected));
    vd_diag_error(r->diags, from->file, from->line, expected, "%s is %s", from->name,
                  row->flags & VD_CONF_SECRET ? "not what it must be" : shown);
}

static bool in_range(const struct vd_conf_row *row, double v)
{
    return (row->min == 0 && row->max == 0) || (v >= (double)row->min && v <= (double)row->max);
}

static bool put_int(struct reader *r, const struct vd_conf_row *row, int64_t v)
{
    if ((row->min != 0 || row->max != 0) && (v < row->min || v > row->max))
        return false;
    memcpy(r->target + row->offset, &v, sizeof(v));
    return true;
}

static bool put_number(struct reader *r, const struct vd_conf_row *row, double v)
{
    if (!isfinite(v) || !in_range(row, v))
        return false;
    memcpy(r->target + row->offset, &v, sizeof(v));
    return true;
}

static bool put_string(struct reader *r, const struct vd_conf_row *row, struct vd_span text)
{
    const char *copy;

    if (row->max > 0 && ((int64_t)text.len < row->min || (int64_t)text.len > row->max))
        return false;
    copy = vd_arena_strndup(&r->conf->arena, text);
    if (copy == NULL)
        r->nomem = true;
    memcpy(r->target + row->offset, &copy, sizeof(copy));
    return true;
}

static bool put_enum(struct reader *r, const struct vd_conf_row *row, struct vd_span text)
{
    for (int i = 0; row->choices[i] != NULL; i++)
        if (vd_span_eq_c(text, row->choices[i])) {
            memcpy(r->target + row->offset, &i, sizeof(i));
            return true;
        }
    return false;
}

static void put_strings(struct reader *r, const struct vd_conf_row *row, const char **items,
                        size_t count)
{
    struct vd_conf_strings strings = {items, count};

    memcpy(r->target + row->offset, &strings, sizeof(strings));
}

/* "a, b": items without the blanks around them; "" is the empty list. */
static bool put_list_text(struct reader *r, const struct vd_conf_row *row, struct vd_span text)
{
    size_t count = 0;
    const char **items = vd_arena_array(&r->conf->arena, text.len / 2 + 1, sizeof(*items));

    if (items == NULL) {
        r->nomem = true;
        return true;
    }
    while (text.len > 0) {
        size_t comma = vd_span_find(text, ',');
        struct vd_span item = vd_span_trim(vd_span_sub(text, 0, comma));

        if (item.len > 0) {
            items[count] = vd_arena_strndup(&r->conf->arena, item);
            if (items[count++] == NULL)
                r->nomem = true;
        }
        text = vd_span_sub(text, comma + 1, text.len);
    }
    put_strings(r, row, items, count);
    return true;
}

/* From a default or the environment: everything is text there. */
static bool put_text(struct reader *r, const struct vd_conf_row *row, struct vd_span text)
{
    int64_t i;
    double d;
    bool yes = vd_span_eq_c(text, "true"), no = vd_span_eq_c(text, "false");

    switch (row->type) {
    case VD_CONF_T_BOOL:
        memcpy(r->target + row->offset, &yes, sizeof(yes));
        return yes || no;
    case VD_CONF_T_INT:
        return vd_parse_i64(text, &i) && put_int(r, row, i);
    case VD_CONF_T_NUMBER:
        return vd_parse_double(text, &d) && put_number(r, row, d);
    case VD_CONF_T_STRING:
        return put_string(r, row, text);
    case VD_CONF_T_ENUM:
        return put_enum(r, row, text);
    case VD_CONF_T_STRINGS:
        return put_list_text(r, row, text);
    default:
        return true;
    }
}

static bool put_list_node(struct reader *r, const struct vd_conf_row *row,
                          const struct vd_conf_node *node)
{
    const char **items;
    size_t i = 0;

    if (node->kind == VD_CONF_STRING) {
        items = vd_arena_array(&r->conf->arena, 1, sizeof(*items));
        if (items != NULL)
            items[0] = node->u.s.ptr;
        r->nomem = r->nomem || items == NULL;
        put_strings(r, row, items, items != NULL ? 1 : 0);
        return true;
    }
    if (node->kind != VD_CONF_LIST)
        return false;
    items = vd_arena_array(&r->conf->arena, node->count, sizeof(*items));
    if (items == NULL) {
        r->nomem = true;
        return true;
    }
    for (const struct vd_conf_node *n = node->first; n != NULL; n = n->next) {
        if (n->kind != VD_CONF_STRING)
            return false;
        items[i++] = n->u.s.ptr;
    }
    put_strings(r, row, items, i);
    return true;
}

static bool put_node(struct reader *r, const struct vd_conf_row *row,
                     const struct vd_conf_node *node)
{
    switch (row->type) {
    case VD_CONF_T_BOOL:
        if (node->kind == VD_CONF_BOOL)
            memcpy(r->target + row->offset, &node->u.b, sizeof(node->u.b));
        return node->kind == VD_CONF_BOOL;
    case VD_CONF_T_INT:
        return node->kind == VD_CONF_INT && put_int(r, row, node->u.i);
    case VD_CONF_T_NUMBER:
        if (node->kind == VD_CONF_INT)
            return put_number(r, row, (double)node->u.i);
        return node->kind == VD_CONF_FLOAT && put_number(r, row, node->u.d);
    case VD_CONF_T_STRING:
        return node->kind == VD_CONF_STRING && put_string(r, row, node->u.s);
    case VD_CONF_T_ENUM:
        return node->kind == VD_CONF_STRING && put_enum(r, row, node->u.s);
    case VD_CONF_T_STRINGS:
        return put_list_node(r, row, node);
    default:
        memcpy(r->target + row->offset, &node, sizeof(node));
        return true;
    }
}

static void zero_field(struct reader *r, const struct vd_conf_row *row)
{
    static const size_t sizes[] = {
        [VD_CONF_T_BOOL] = sizeof(bool),
        [VD_CONF_T_INT] = sizeof(int64_t),
        [VD_CONF_T_NUMBER] = sizeof(double),
        [VD_CONF_T_STRING] = sizeof(char *),
        [VD_CONF_T_ENUM] = sizeof(int),
        [VD_CONF_T_STRINGS] = sizeof(struct vd_conf_strings),
        [VD_CONF_T_NODE] = sizeof(struct vd_conf_node *),
    };

    memset(r->target + row->offset, 0, sizes[row->type]);
}

static void read_row(struct reader *r, const struct vd_conf_row *row,
                     const struct vd_conf_node *group)
{
    const struct vd_conf_node *node = vd_conf_find(group, row->name);
    char variable[NAME_MAX_BYTES];
    const char *text = NULL;
    char shown[64];

    zero_field(r, row);
    if (row->fallback != NULL) {
        bool ok = put_text(r, row, vd_span_of(row->fallback));

        (void)ok; /* a default outside its own range is a bug of the table, and shows in its dump */
    }
    if (r->env != NULL && r->env->get != NULL && !(row->flags & VD_CONF_NO_ENV) &&
        row->type != VD_CONF_T_NODE) {
        env_name(r->env->prefix, row->name, variable, sizeof(variable));
        text = r->env->get(r->env->arg, variable);
    }
    if (node != NULL && !put_node(r, row, node)) {
        struct origin from = {node->file, node->line, node->path};

        vd_conf_show(node, shown, sizeof(shown));
        wrong(r, row, &from, shown);
    }
    if (text != NULL && !put_text(r, row, vd_span_of(text))) {
        struct origin from = {NULL, 0, variable};

        (void)snprintf(shown, sizeof(shown), "\"%.40s\"", text);
        wrong(r, row, &from, shown);
    }
    if (node == NULL && text == NULL && (row->flags & VD_CONF_REQUIRED))
        vd_diag_error(r->diags, group != NULL ? group->file : NULL, group != NULL ? group->line : 0,
                      row->doc, "%s%s%s is missing", group != NULL ? group->path : "",
                      group != NULL && group->path[0] != '\0' ? "." : "", row->name);
}

/* -- unknown names ----------------------------------------------------------------------------------------------- */

/* Name of the row's path below prefix, up to the next dot: what a person may write there. */
static bool step_below(const char *path, const char *prefix, char *out, size_t size)
{
    size_t n = strlen(prefix);
    size_t len;

    if (n > 0 && (strncmp(path, prefix, n) != 0 || path[n] != '.'))
        return false;
    path += n > 0 ? n + 1 : 0;
    len = vd_span_find(vd_span_of(path), '.');
    if (len == 0 || len >= size)
        return false;
    memcpy(out, path, len);
    out[len] = '\0';
    return true;
}

static void unknown_name(struct reader *r, const struct vd_conf_node *node, const char *prefix)
{
    char names[96][48];
    const char *candidates[97];
    size_t count = 0;
    const char *like;
    char hint[128], list[256] = "";
    size_t used = 0;

    for (const struct vd_conf_row *row = r->rows; row->name != NULL && count < 96; row++)
        if (step_below(row->name, prefix, names[count], sizeof(names[0])) &&
            (count == 0 || strcmp(names[count], names[count - 1]) != 0))
            count++;
    for (size_t i = 0; i < count; i++) {
        candidates[i] = names[i];
        if (used < sizeof(list))
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i > 0 ? ", " : "",
                                     names[i]);
    }
    candidates[count] = NULL;
    like = vd_closest(node->name, candidates);
    if (like != NULL)
        (void)snprintf(hint, sizeof(hint), "%s", like);
    vd_diag_error(r->diags, node->file, node->line, like != NULL ? hint : list,
                  "unknown name \"%.60s\"%s%s%s", node->name,
                  node->parent != NULL && node->parent->path[0] != '\0' ? " in " : "",
                  node->parent != NULL ? node->parent->path : "",
                  like != NULL ? ": did you mean the one below?" : "");
}

static void check_names(struct reader *r, const struct vd_conf_node *group, const char *prefix)
{
    for (const struct vd_conf_node *n = group->first; n != NULL; n = n->next) {
        char path[NAME_MAX_BYTES], step[48];
        bool row_here = false, row_below = false;

        (void)snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", n->name);
        for (const struct vd_conf_row *row = r->rows; row->name != NULL; row++) {
            row_here = row_here || strcmp(row->name, path) == 0;
            row_below = row_below || step_below(row->name, path, step, sizeof(step));
        }
        if (row_here)
            continue;
        if (!row_below)
            unknown_name(r, n, prefix);
        else if (n->kind != VD_CONF_GROUP)
            vd_diag_error(r->diags, n->file, n->line, "a group: { name = value; }", "%s is a %s",
                          n->path, vd_conf_kind_name(n->kind));
        else
            check_names(r, n, path);
    }
}

enum vd_code vd_conf_read(struct vd_conf *conf, const struct vd_conf_node *group,
                          const struct vd_conf_row *rows, void *target,
                          const struct vd_conf_env *env, struct vd_diags *diags, struct vd_err *err)
{
    struct reader r = {conf, rows, target, env, diags, false};

    for (const struct vd_conf_row *row = rows; row->name != NULL; row++)
        read_row(&r, row, group);
    if (group != NULL && group->kind == VD_CONF_GROUP)
        check_names(&r, group, "");
    else if (group != NULL)
        vd_diag_error(diags, group->file, group->line, "a group: { name = value; }", "%s is a %s",
                      group->path, vd_conf_kind_name(group->kind));
    return r.nomem ? vd_err_nomem(err, "settings") : VD_OK;
}

/* -- back to text ------------------------------------------------------------------------------------------------ */

static void write_string(struct vd_buf *out, const char *text)
{
    (void)vd_buf_add_char(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            (void)vd_buf_add_char(out, '\\');
        if (*text == '\n')
            (void)vd_buf_add_c(out, "\\n");
        else if (*text == '\t')
            (void)vd_buf_add_c(out, "\\t");
        else
            (void)vd_buf_add_char(out, *text);
    }
    (void)vd_buf_add_char(out, '"');
}

static void write_int(struct vd_buf *out, int64_t v)
{
    (void)vd_buf_add_i64(out, v);
    if (v > INT32_MAX || v < INT32_MIN)
        (void)vd_buf_add_char(out, 'L');
}

static void write_number(struct vd_buf *out, double v)
{
    char text[40];

    (void)snprintf(text, sizeof(text), "%.17g", v);
    (void)vd_buf_add_c(out, text);
    if (strpbrk(text, ".e") == NULL)
        (void)vd_buf_add_c(out, ".0");
}

static void write_node(struct vd_buf *out, const struct vd_conf_node *node, bool secret)
{
    switch (node->kind) {
    case VD_CONF_BOOL:
        (void)vd_buf_add_c(out, node->u.b ? "true" : "false");
        break;
    case VD_CONF_INT:
        write_int(out, node->u.i);
        break;
    case VD_CONF_FLOAT:
        write_number(out, node->u.d);
        break;
    case VD_CONF_STRING:
        write_string(out, secret ? "********" : node->u.s.ptr);
        break;
    case VD_CONF_GROUP:
        (void)vd_buf_add_c(out, "{ ");
        for (const struct vd_conf_node *n = node->first; n != NULL; n = n->next) {
            (void)vd_buf_addf(out, "%s = ", n->name);
            write_node(out, n, secret);
            (void)vd_buf_add_c(out, "; ");
        }
        (void)vd_buf_add_c(out, "}");
        break;
    case VD_CONF_LIST:
        (void)vd_buf_add_c(out, "( ");
        for (const struct vd_conf_node *n = node->first; n != NULL; n = n->next) {
            write_node(out, n, secret);
            (void)vd_buf_add_c(out, n->next != NULL ? ", " : " ");
        }
        (void)vd_buf_add_c(out, ")");
        break;
    }
}

static void write_field(struct vd_buf *out, const struct vd_conf_row *row, const char *field)
{
    bool b, secret = (row->flags & VD_CONF_SECRET) != 0;
    int64_t i;
    double d;
    const char *text;
    int word;
    struct vd_conf_strings strings;
    const struct vd_conf_node *node;

    switch (row->type) {
    case VD_CONF_T_BOOL:
        memcpy(&b, field, sizeof(b));
        (void)vd_buf_add_c(out, b ? "true" : "false");
        break;
    case VD_CONF_T_INT:
        memcpy(&i, field, sizeof(i));
        write_int(out, i);
        break;
    case VD_CONF_T_NUMBER:
        memcpy(&d, field, sizeof(d));
        write_number(out, d);
        break;
    case VD_CONF_T_STRING:
        memcpy(&text, field, sizeof(text));
        write_string(out, text == NULL ? "" : secret && text[0] != '\0' ? "********" : text);
        break;
    case VD_CONF_T_ENUM:
        memcpy(&word, field, sizeof(word));
        write_string(out, row->choices[word]);
        break;
    case VD_CONF_T_STRINGS:
        memcpy(&strings, field, sizeof(strings));
        (void)vd_buf_add_c(out, "[");
        for (size_t k = 0; k < strings.count; k++) {
            (void)vd_buf_add_c(out, k > 0 ? ", " : "");
            write_string(out, secret ? "********" : strings.items[k]);
        }
        (void)vd_buf_add_c(out, "]");
        break;
    case VD_CONF_T_NODE:
        memcpy(&node, field, sizeof(node));
        write_node(out, node, secret);
        break;
    }
}

/* Nothing was set and there is no default: the row is left out of a dump, since "" may not be allowed for it. */
static bool is_unset(const struct vd_conf_row *row, const char *field)
{
    const void *p;

    if (row->type != VD_CONF_T_STRING && row->type != VD_CONF_T_NODE)
        return false;
    memcpy(&p, field, sizeof(p));
    return p == NULL;
}

enum vd_code vd_conf_dump(const struct vd_conf_row *rows, const void *target, struct vd_buf *out)
{
    char open[48] = ""; /* the group being written; tables keep a group's rows together */

    for (const struct vd_conf_row *row = rows; row->name != NULL; row++) {
        const char *dot = strrchr(row->name, '.');
        const char *field = (const char *)target + row->offset;
        char group[48] = "";

        if (dot != NULL)
            (void)snprintf(group, sizeof(group), "%.*s", (int)(dot - row->name), row->name);
        if (strcmp(group, open) != 0) {
            if (open[0] != '\0')
                (void)vd_buf_add_c(out, "};\n");
            if (group[0] != '\0')
                (void)vd_buf_addf(out, "%s = {\n", group);
            (void)snprintf(open, sizeof(open), "%s", group);
        }
        if (is_unset(row, field))
            continue;
        (void)vd_buf_addf(out, "%s%s = ", group[0] != '\0' ? "    " : "",
                          dot != NULL ? dot + 1 : row->name);
        write_field(out, row, field);
        (void)vd_buf_add_c(out, ";\n");
    }
    if (open[0] != '\0')
        (void)vd_buf_add_c(out, "};\n");
    return out->failed;
}

static const char *type_word(enum vd_conf_type type)
{
    static const char *const words[] = {
        [VD_CONF_T_BOOL] = "boolean",       [VD_CONF_T_INT] = "integer",
        [VD_CONF_T_NUMBER] = "number",      [VD_CONF_T_STRING] = "string",
        [VD_CONF_T_ENUM] = "word",          [VD_CONF_T_STRINGS] = "list of strings",
        [VD_CONF_T_NODE] = "group or list",
    };

    return words[type];
}

enum vd_code vd_conf_reference(const struct vd_conf_row *rows, const char *env_prefix,
                               struct vd_buf *out)
{
    (void)vd_buf_addf(out,
                      "| name | type | default | range | %swhat it is |\n|---|---|---|---|%s---|\n",
                      env_prefix != NULL ? "environment | " : "", env_prefix != NULL ? "---|" : "");
    for (const struct vd_conf_row *row = rows; row->name != NULL; row++) {
        char variable[NAME_MAX_BYTES] = "", range[256] = "";

        if (env_prefix != NULL && !(row->flags & VD_CONF_NO_ENV) && row->type != VD_CONF_T_NODE)
            env_name(env_prefix, row->name, variable, sizeof(variable));
        if (row->type == VD_CONF_T_ENUM)
            choices_text(row, range, sizeof(range));
        else if ((row->type == VD_CONF_T_INT || row->type == VD_CONF_T_NUMBER) && row->max != 0)
            (void)snprintf(range, sizeof(range), "%lld to %lld", (long long)row->min,
                           (long long)row->max);
        (void)vd_buf_addf(out, "| `%s` | %s | %s%s%s%s%s | %s |", row->name, type_word(row->type),
                          row->fallback != NULL ? "`" : "",
                          row->fallback != NULL           ? row->fallback
                          : row->flags & VD_CONF_REQUIRED ? "required"
                                                          : "",
                          row->fallback != NULL ? "`" : "",
                          row->fallback != NULL && row->unit != NULL ? " " : "",
                          row->fallback != NULL && row->unit != NULL ? row->unit : "", range);
        if (env_prefix != NULL)
            (void)vd_buf_addf(out, " %s%s%s |", variable[0] != '\0' ? "`" : "", variable,
                              variable[0] != '\0' ? "`" : "");
        (void)vd_buf_addf(out, " %s%s%s |\n", row->doc,
                          row->flags & VD_CONF_SECRET ? " Secret." : "",
                          row->flags & VD_CONF_RELOAD ? " May change while running." : "");
    }
    return out->failed;
}

static bool differs(const struct vd_conf_row *row, const char *a, const char *b)
{
    struct vd_conf_row open = *row;
    struct vd_buf left, right;
    bool result;

    open.flags &= ~VD_CONF_SECRET;
    if (is_unset(row, a) || is_unset(row, b))
        return is_unset(row, a) != is_unset(row, b);
    vd_buf_init(&left, VD_CONF_ARENA_MAX_BYTES);
    vd_buf_init(&right, VD_CONF_ARENA_MAX_BYTES);
    write_field(&left, &open, a);
    write_field(&right, &open, b);
    result = left.failed != VD_OK || right.failed != VD_OK ||
             !vd_span_eq(vd_buf_span(&left), vd_buf_span(&right));
    vd_buf_free(&left);
    vd_buf_free(&right);
    return result;
}

void vd_conf_diff(const struct vd_conf_row *rows, const void *a, const void *b,
                  vd_conf_changed_fn *changed, void *arg)
{
    for (const struct vd_conf_row *row = rows; row->name != NULL; row++)
        if (differs(row, (const char *)a + row->offset, (const char *)b + row->offset))
            changed(arg, row);
}
