/* policy/template.c - see template.h. */
#include "policy/template.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"

#define MAX_PARTS 32 /* texts and holes of one template */

struct part {
    struct vd_span text; /* of source copy; used when program is NULL */
    struct vd_cel_program *program;
};

struct vd_template {
    char *name;
    char *source;
    struct part parts[MAX_PARTS];
    size_t count;
    char *literals; /* the texts, with {{ and }} undone */
};

void *vd_template_free(struct vd_template *template)
{
    if (template == NULL)
        return NULL;
    for (size_t i = 0; i < template->count; i++)
        vd_cel_program_free(template->parts[i].program);
    vd_free(template->name);
    vd_free(template->source);
    vd_free(template->literals);
    return vd_free(template);
}

/* Length of the hole's expression: up to the `}` that closes it, braces and quotes inside counted. text starts behind `{`. */
static bool hole_length(struct vd_span text, size_t *ret)
{
    size_t depth = 0;
    char quote = '\0';

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (quote != '\0') {
            if (c == '\\')
                i++;
            else if (c == quote)
                quote = '\0';
        } else if (c == '\'' || c == '"') {
            quote = c;
        } else if (c == '{') {
            depth++;
        } else if (c == '}' && depth-- == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static enum vd_code add_part(struct vd_template *t, struct part part, struct vd_err *err)
{
    if (t->count == MAX_PARTS) {
        vd_cel_program_free(part.program);
        return vd_err_set(err, VD_E_CONFIG, false, "more than %d holes and texts", MAX_PARTS);
    }
    t->parts[t->count++] = part;
    return VD_OK;
}

static enum vd_code parse_parts(struct vd_template *t, const struct vd_cel_env *env,
                                struct vd_span source, struct vd_err *err)
{
    char *text = t->literals; /* start of the text being read */
    char *end = text;
    enum vd_code rc = VD_OK;

    for (size_t i = 0; i < source.len && rc == VD_OK; i++) {
        char c = source.ptr[i];
        bool twice = i + 1 < source.len && source.ptr[i + 1] == c;
        struct part hole = {.program = NULL};
        size_t len;

        if ((c != '{' && c != '}') || twice) {
            *end++ = c;
            i += (c == '{' || c == '}') ? 1 : 0;
            continue;
        }
        if (c == '}')
            return vd_err_set(err, VD_E_CONFIG, false,
                              "column %zu: a } that closes nothing; a literal one is }}", i + 1);
        if (!hole_length(vd_span_sub(source, i + 1, source.len), &len))
            return vd_err_set(err, VD_E_CONFIG, false,
                              "column %zu: a hole that is never closed; a literal { is {{", i + 1);
        if (end > text)
            rc = add_part(t, (struct part){.text = {text, (size_t)(end - text)}}, err);
        text = end;
        if (rc == VD_OK)
            rc = vd_cel_compile(env, vd_span_sub(source, i + 1, len), &hole.program, err);
        if (rc == VD_OK)
            rc = add_part(t, hole, err);
        i += len + 1;
    }
    if (rc == VD_OK && end > text)
        rc = add_part(t, (struct part){.text = {text, (size_t)(end - text)}}, err);
    return rc;
}

enum vd_code vd_template_compile(const struct vd_cel_env *env, const char *name,
                                 struct vd_span source, struct vd_template **ret,
                                 struct vd_err *err)
{
    struct vd_template *t = vd_alloc(sizeof(*t));
    enum vd_code rc = VD_OK;

    if (t == NULL)
        return vd_err_nomem(err, "template");
    t->name = vd_strdup(name);
    t->source = vd_strndup(source);
    t->literals = vd_alloc(source.len + 1);
    if (t->name == NULL || t->source == NULL || t->literals == NULL)
        rc = vd_err_nomem(err, "template");
    else if (source.len == 0)
        rc = vd_err_set(err, VD_E_CONFIG, false, "a template must not be empty");
    else
        rc = parse_parts(t, env, source, err);
    if (rc != VD_OK) {
        vd_template_free(t);
        return rc;
    }
    *ret = t;
    return VD_OK;
}

bool vd_template_uses(const struct vd_template *template, unsigned slot)
{
    for (size_t i = 0; i < template->count; i++)
        if (template->parts[i].program != NULL && vd_cel_uses(template->parts[i].program, slot))
            return true;
    return false;
}

struct vd_span vd_template_source(const struct vd_template *template)
{
    return vd_span_of(template->source);
}

const char *vd_template_literals(const struct vd_template *template)
{
    return template->literals;
}

static bool is_plain(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

/* The value's text, in a scratch of at least 32 bytes or borrowed. False: no kind that a key can hold. */
static bool value_text(const struct vd_cel_value *v, char scratch[40], struct vd_span *ret)
{
    int n = 0;

    switch (v->kind) {
    case VD_CEL_STRING:
        *ret = v->u.s;
        return true;
    case VD_CEL_BOOL:
        *ret = v->u.b ? VD_LIT("true") : VD_LIT("false");
        return true;
    case VD_CEL_INT:
        n = snprintf(scratch, 40, "%lld", (long long)v->u.i);
        break;
    case VD_CEL_UINT:
        n = snprintf(scratch, 40, "%llu", (unsigned long long)v->u.u);
        break;
    case VD_CEL_DOUBLE:
        if (!(fabs(v->u.d) < 9007199254740992.0) || v->u.d != floor(v->u.d))
            return false;
        n = snprintf(scratch, 40, "%.0f", v->u.d);
        break;
    default:
        return false;
    }
    *ret = (struct vd_span){scratch, (size_t)n};
    return true;
}

static enum vd_code render_hole(const struct vd_template *t, const struct part *part,
                                struct vd_cel_eval_context *context, struct vd_buf *out,
                                struct vd_err *err)
{
    static const char hex[] = "0123456789ABCDEF";
    struct vd_span hole = vd_cel_source(part->program);
    int shown = hole.len > 60 ? 60 : (int)hole.len;
    struct vd_cel_value value;
    struct vd_span text;
    char scratch[40];
    size_t before = out->len;
    enum vd_code rc = vd_cel_eval(part->program, context, &value, err);

    if (rc == VD_E_INPUT)
        return vd_err_wrap(err, rc, "%s: {%.*s}", t->name, shown, hole.ptr);
    if (rc != VD_OK)
        return rc;
    if (!value_text(&value, scratch, &text))
        return vd_err_set(err, VD_E_INPUT, false, "%s: {%.*s} is a %s, not a text or whole number",
                          t->name, shown, hole.ptr, vd_cel_kind_name(value.kind));
    if (text.len == 0)
        return vd_err_set(err, VD_E_INPUT, false, "%s: {%.*s} is empty", t->name, shown, hole.ptr);
    for (size_t i = 0; i < text.len && out->len - before <= VD_TEMPLATE_MAX_VALUE; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (is_plain((char)c)) {
            (void)vd_buf_add_char(out, (char)c);
        } else {
            char escape[3] = {'%', hex[c >> 4], hex[c & 15]};

            (void)vd_buf_add(out, (struct vd_span){escape, 3});
        }
    }
    if (out->len - before > VD_TEMPLATE_MAX_VALUE)
        return vd_err_set(err, VD_E_INPUT, false, "%s: {%.*s} is longer than %d bytes", t->name,
                          shown, hole.ptr, VD_TEMPLATE_MAX_VALUE);
    return VD_OK;
}

enum vd_code vd_template_render(const struct vd_template *template,
                                struct vd_cel_eval_context *context, struct vd_span *ret,
                                struct vd_err *err)
{
    struct vd_buf out;
    enum vd_code rc = VD_OK;

    vd_buf_init(&out, VD_KEY_MAX_BYTES + VD_TEMPLATE_MAX_VALUE * 2);
    for (size_t i = 0; i < template->count && rc == VD_OK; i++) {
        const struct part *part = &template->parts[i];

        if (part->program != NULL)
            rc = render_hole(template, part, context, &out, err);
        else
            (void)vd_buf_add(&out, part->text);
        if (rc == VD_OK && (out.len > VD_KEY_MAX_BYTES || out.failed == VD_E_LIMIT))
            rc = vd_err_set(err, VD_E_INPUT, false, "%s: longer than %d bytes", template->name,
                            VD_KEY_MAX_BYTES);
    }
    if (rc == VD_OK &&
        (out.failed != VD_OK || vd_arena_dup(context->arena, vd_buf_span(&out), ret) != VD_OK))
        rc = vd_err_nomem(err, template->name);
    vd_buf_free(&out);
    return rc;
}

/* -- command lines ----------------------------------------------------------------------------------------------- */

/* Length of the first word of text: up to a blank outside holes. */
static size_t word_length(struct vd_span text)
{
    size_t i = 0;

    while (i < text.len && text.ptr[i] != ' ' && text.ptr[i] != '\t') {
        size_t hole;

        if (text.ptr[i] == '{' && i + 1 < text.len && text.ptr[i + 1] != '{' &&
            hole_length(vd_span_sub(text, i + 1, text.len), &hole))
            i += hole + 1;
        i++;
    }
    return i;
}

enum vd_code vd_template_argv_compile(const struct vd_cel_env *env, const char *name,
                                      struct vd_span source, struct vd_template_argv *ret,
                                      struct vd_err *err)
{
    struct vd_template_argv argv = {vd_alloc_array(MAX_PARTS, sizeof(*argv.items)), 0};
    enum vd_code rc = argv.items == NULL ? vd_err_nomem(err, "template") : VD_OK;

    for (source = vd_span_trim(source); source.len > 0 && rc == VD_OK;) {
        size_t len = word_length(source);

        if (argv.count == MAX_PARTS)
            rc = vd_err_set(err, VD_E_CONFIG, false, "more than %d words", MAX_PARTS);
        else
            rc = vd_template_compile(env, name, vd_span_sub(source, 0, len),
                                     &argv.items[argv.count], err);
        if (rc == VD_OK)
            argv.count++;
        source = vd_span_trim(vd_span_sub(source, len, source.len));
    }
    if (rc == VD_OK && argv.count == 0)
        rc = vd_err_set(err, VD_E_CONFIG, false, "a command must not be empty");
    if (rc != VD_OK) {
        vd_template_argv_fini(&argv);
        return rc;
    }
    *ret = argv;
    return VD_OK;
}

void vd_template_argv_fini(struct vd_template_argv *argv)
{
    for (size_t i = 0; i < argv->count; i++)
        vd_template_free(argv->items[i]);
    vd_free(argv->items);
    *argv = (struct vd_template_argv){NULL, 0};
}

enum vd_code vd_template_argv_render(const struct vd_template_argv *argv,
                                     struct vd_cel_eval_context *context, struct vd_span *args,
                                     struct vd_err *err)
{
    enum vd_code rc = VD_OK;

    for (size_t i = 0; i < argv->count && rc == VD_OK; i++)
        rc = vd_template_render(argv->items[i], context, &args[i], err);
    return rc;
}
