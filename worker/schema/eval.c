/* schema/eval.c - see eval.h. The keywords are in ops_*.c. */
#include "schema/eval.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "json/json.h"

/* -- budget ------------------------------------------------------------------------------------------------------ */

static void stop(struct vd_run *run, enum vd_code code, const char *reason)
{
    if (run->rc == VD_OK)
        run->rc = vd_err_set(run->err, code, false, "%s", reason);
}

bool vd_run_spend(struct vd_run *run, unsigned long steps)
{
    run->steps += steps;
    if (run->steps > VD_SCHEMA_MAX_STEPS)
        stop(run, VD_E_LIMIT, "validation takes too many steps");
    return run->rc == VD_OK;
}

static bool out_of_memory(struct vd_run *run)
{
    stop(run, VD_E_NOMEM, "out of memory (validation)");
    return false;
}

bool vd_run_search(struct vd_run *run, const struct vd_regex *regex, struct vd_span text)
{
    enum vd_regex_result found;
    unsigned long steps;

    if (run->matcher == NULL)
        run->matcher = vd_regex_matcher(run->arena);
    if (run->matcher == NULL)
        return out_of_memory(run);
    found = vd_regex_search(run->matcher, regex, text, &steps);
    if (!vd_run_spend(run, steps))
        return false;
    if (found == VD_REGEX_NOMEM)
        return out_of_memory(run);
    if (found == VD_REGEX_LIMIT)
        stop(run, VD_E_LIMIT, "a pattern backtracks too much on this text");
    return found == VD_REGEX_YES;
}

/* -- evaluated members and items --------------------------------------------------------------------------------- */

void vd_seen_mark(struct vd_seen *seen, size_t index)
{
    if (seen != NULL)
        seen->words[index / 64] |= 1ull << (index % 64);
}

bool vd_seen_has(const struct vd_seen *seen, size_t index)
{
    return (seen->words[index / 64] >> (index % 64) & 1) != 0;
}

static void merge_seen(struct vd_seen *into, const struct vd_seen *from)
{
    for (size_t i = 0; into != NULL && i < into->word_count; i++)
        into->words[i] |= from->words[i];
}

static struct vd_seen_block *take_block(struct vd_run *run, size_t word_count)
{
    struct vd_seen_block **link = &run->free_blocks;
    struct vd_seen_block *block;

    while (*link != NULL && (*link)->word_count < word_count)
        link = &(*link)->next;
    block = *link;
    if (block != NULL) {
        *link = block->next;
        memset(block->words, 0, word_count * sizeof(uint64_t));
        return block;
    }
    block = vd_arena_alloc(run->arena, sizeof(*block) + word_count * sizeof(uint64_t));
    if (block != NULL)
        block->word_count = word_count;
    return block;
}

static bool begin_seen(struct vd_run *run, struct vd_seen *seen, size_t word_count)
{
    *seen = (struct vd_seen){.word_count = word_count, .words = &seen->small};
    if (word_count <= 1)
        return true;
    seen->block = take_block(run, word_count);
    if (seen->block == NULL)
        return out_of_memory(run);
    seen->words = seen->block->words;
    return true;
}

static void end_seen(struct vd_run *run, struct vd_seen *seen)
{
    if (seen->block == NULL)
        return;
    seen->block->next = run->free_blocks;
    run->free_blocks = seen->block;
}

/* -- evaluation -------------------------------------------------------------------------------------------------- */

static bool run_ops(struct vd_run *run, const struct vd_node *node, const struct vd_place *at,
                    struct vd_seen *seen)
{
    unsigned kind = VD_KIND(vd_json_kind(at->node));
    bool ok = true;

    for (const struct vd_op *op = node->ops, *end = op + node->op_count; op < end; op++) {
        if ((op->kinds & kind) == 0 || op->eval(run, op, at, seen))
            continue;
        if (vd_run_is_fast(run) || run->rc != VD_OK)
            return false;
        ok = false;
    }
    return ok;
}

/* A node that asks what was evaluated looks at its own keywords only, not at those beside it in its parent. */
static bool run_tracking(struct vd_run *run, const struct vd_node *node, const struct vd_place *at,
                         struct vd_seen *outer)
{
    struct vd_seen own;
    bool ok;

    if (!begin_seen(run, &own,
                    outer != NULL ? outer->word_count : vd_count_children(at->node) / 64 + 1))
        return false;
    ok = run_ops(run, node, at, &own);
    if (ok)
        merge_seen(outer, &own);
    end_seen(run, &own);
    return ok;
}

static bool run_node(struct vd_run *run, const struct vd_node *node, const struct vd_place *at,
                     struct vd_seen *seen)
{
    if (node->tracks && (cJSON_IsArray(at->node) || cJSON_IsObject(at->node)))
        return run_tracking(run, node, at, seen);
    return run_ops(run, node, at, seen);
}

bool vd_eval(struct vd_run *run, const struct vd_node *node, const struct vd_place *at,
             struct vd_seen *seen)
{
    bool ok;

    if (!vd_run_spend(run, 1))
        return false;
    if (run->errors != NULL && run->error_count == run->error_max)
        return false; /* the verdict is known, and nothing more is kept */
    if (node->boolean)
        return node->verdict || vd_run_fail_as(run, node, NULL, at, "is not allowed here");
    if (run->depth >= VD_SCHEMA_MAX_DEPTH) {
        stop(run, VD_E_LIMIT, "the schema refers to itself without end, or is nested too deeply");
        return false;
    }
    run->depth++;
    if (run->scope == NULL || run->scope->resource != node->resource) {
        struct vd_scope scope = {node->resource, run->scope};

        run->scope = &scope;
        ok = run_node(run, node, at, seen);
        run->scope = scope.outer;
    } else {
        ok = run_node(run, node, at, seen);
    }
    run->depth--;
    return ok;
}

bool vd_eval_maybe(struct vd_run *run, const struct vd_node *node, const struct vd_place *at,
                   struct vd_seen *seen)
{
    struct vd_seen own;
    bool ok;

    if (seen == NULL)
        return vd_eval(run, node, at, NULL);
    if (!begin_seen(run, &own, seen->word_count))
        return false;
    ok = vd_eval(run, node, at, &own);
    if (ok)
        merge_seen(seen, &own);
    end_seen(run, &own);
    return ok;
}

bool vd_eval_quietly(struct vd_run *run, const struct vd_node *node, const struct vd_place *at,
                     struct vd_seen *seen)
{
    struct vd_schema_error *errors = run->errors;
    bool ok;

    run->errors = NULL;
    ok = vd_eval_maybe(run, node, at, seen);
    run->errors = errors;
    return ok;
}

static struct vd_run begin_run(struct vd_arena *arena, struct vd_err *err)
{
    return (struct vd_run){.arena = arena, .err = err};
}

/* The verdict is found first, without errors. Only a bad instance is looked at again, to say why. */
enum vd_code vd_schema_validate(const struct vd_schema *schema, const cJSON *instance,
                                size_t max_errors, struct vd_arena *arena,
                                struct vd_schema_result *ret, struct vd_err *err)
{
    struct vd_arena_mark mark = vd_arena_mark(arena);
    struct vd_run run = begin_run(arena, err);
    struct vd_place whole = {.node = instance};
    bool valid = vd_eval(&run, schema->root, &whole, NULL);

    vd_arena_rewind(arena, mark); /* a verdict needs none of it; PCRE2 takes 20 KiB for a match */
    if (run.rc != VD_OK)
        return run.rc;
    *ret = (struct vd_schema_result){.valid = valid};
    if (valid || max_errors == 0)
        return VD_OK;
    run = begin_run(arena, NULL);
    run.error_max = max_errors;
    run.errors = vd_arena_array(arena, max_errors, sizeof(*run.errors));
    if (run.errors == NULL)
        return vd_err_nomem(err, "validation errors");
    ret->errors = run.errors;
    /* The verdict stands already: if this passes its budget, the errors found so far are the answer. */
    (void)vd_eval(&run, schema->root, &whole, NULL);
    ret->error_count = run.error_count;
    if (run.rc == VD_E_NOMEM)
        return vd_err_nomem(err, "validation errors");
    return VD_OK;
}

/* -- errors ------------------------------------------------------------------------------------------------------ */

static size_t token_length(const struct vd_place *at)
{
    size_t n = 1;

    if (at->key == NULL)
        return 1 + (size_t)snprintf(NULL, 0, "%zu", at->index);
    for (const char *c = at->key; *c != '\0'; c++)
        n += *c == '~' || *c == '/' ? 2 : 1;
    return n;
}

static void write_token(char *out, const struct vd_place *at, size_t len)
{
    char digits[24];
    const char *from = at->key;

    if (from == NULL) {
        (void)snprintf(digits, sizeof(digits), "%zu", at->index);
        from = digits;
    }
    *out++ = '/';
    for (len--; len > 0; from++, len--) {
        if (*from != '~' && *from != '/') {
            *out++ = *from;
            continue;
        }
        *out++ = '~';
        *out++ = *from == '~' ? '0' : '1';
        len--;
    }
}

/* Filled from its end: the chain leads from the leaf to the root. */
static const char *pointer_of(struct vd_run *run, const struct vd_place *at)
{
    size_t len = 0;
    char *path;

    for (const struct vd_place *p = at; p->parent != NULL; p = p->parent)
        len += token_length(p);
    path = vd_arena_alloc(run->arena, len + 1);
    for (const struct vd_place *p = at; path != NULL && p->parent != NULL; p = p->parent) {
        size_t n = token_length(p);

        len -= n;
        write_token(path + len, p, n);
    }
    return path;
}

static void keep_error(struct vd_run *run, const struct vd_node *node, const char *keyword,
                       const struct vd_place *at, const char *reason)
{
    struct vd_schema_error *e = &run->errors[run->error_count];
    const char *slash = strrchr(node->path, '/');

    e->instance_path = pointer_of(run, at);
    e->schema_path =
        keyword == NULL ? node->path : vd_arena_printf(run->arena, "%s/%s", node->path, keyword);
    if (keyword == NULL) /* the schema false: the keyword is where it stands */
        e->keyword = slash != NULL ? slash + 1 : "false";
    else
        e->keyword = keyword;
    e->reason = vd_arena_strndup(run->arena, vd_span_of(reason));
    if (e->instance_path == NULL || e->schema_path == NULL || e->reason == NULL)
        (void)out_of_memory(run);
    else
        run->error_count++;
}

static bool fail_with(struct vd_run *run, const struct vd_node *node, const char *keyword,
                      const struct vd_place *at, const char *fmt, va_list ap) VD_PRINTF(5, 0);

static bool fail_with(struct vd_run *run, const struct vd_node *node, const char *keyword,
                      const struct vd_place *at, const char *fmt, va_list ap)
{
    char reason[512];

    if (run->errors == NULL || run->error_count == run->error_max)
        return false;
    (void)vsnprintf(reason, sizeof(reason), fmt, ap);
    keep_error(run, node, keyword, at, reason);
    return false;
}

bool vd_run_fail(struct vd_run *run, const struct vd_op *op, const struct vd_place *at,
                 const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)fail_with(run, op->node, op->keyword, at, fmt, ap);
    va_end(ap);
    return false;
}

bool vd_run_fail_as(struct vd_run *run, const struct vd_node *node, const char *keyword,
                    const struct vd_place *at, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)fail_with(run, node, keyword, at, fmt, ap);
    va_end(ap);
    return false;
}

#define SHOWN_BYTES 60

static struct vd_shown show_container(const cJSON *node, const char *one, const char *many)
{
    struct vd_shown shown;
    size_t n = vd_count_children(node);

    (void)snprintf(shown.text, sizeof(shown.text), "%s %zu %s", one, n, many);
    return shown;
}

struct vd_shown vd_show(const cJSON *node)
{
    struct vd_shown shown;
    struct vd_buf text;
    size_t n;

    if (cJSON_IsArray(node))
        return show_container(node, "an array of", "items");
    if (cJSON_IsObject(node))
        return show_container(node, "an object of", "members");
    vd_buf_init(
        &text, (cJSON_IsString(node) ? vd_json_string(node).len * 6 : VD_JSON_MAX_NUMBER_LEN) + 64);
    (void)vd_json_write(&text, node);
    n = text.len;
    if (n > SHOWN_BYTES) { /* cut between characters */
        for (n = SHOWN_BYTES; n > 0 && ((unsigned char)text.ptr[n] & 0xC0) == 0x80; n--)
            ;
    }
    (void)snprintf(shown.text, sizeof(shown.text), "%.*s%s", (int)n,
                   text.ptr == NULL ? "" : text.ptr, n < text.len ? "..." : "");
    vd_buf_free(&text);
    return shown;
}

struct vd_shown vd_show_name(const char *name)
{
    cJSON node = {.type = cJSON_String};
    struct vd_shown shown;
    char *copy = vd_strdup(name);

    node.valuestring = copy;
    shown = vd_show(&node);
    (void)vd_free(copy);
    return shown;
}
