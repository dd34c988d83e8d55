/* tests/fuzz/fuzz_cel.c - any expression over any JSON: it compiles or says why not, and evaluates or fails within its budget.
 *
 * The input is a byte of flags, an expression (which may have lines: a NUL ends it), and JSON text, the value of x and, when the
 * flags say so, also the schema of x. What a strict environment lets through must have the same value in a lenient one.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/limits.h"
#include "cel/cel.h"
#include "cel/exprvalue.h"
#include "cel/zone.h"

#define STEPS 20000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

struct outcome {
    bool compiled;
    enum vd_code rc;
    struct vd_cel_value value;
    struct vd_arena arena;
    struct vd_cel_program *program;
};

/* A place ends before what is computed, and only what the program uses is read. */
static bool is_short(void *arg, const struct vd_cel_step *steps, size_t count)
{
    (void)arg;
    for (size_t i = 0; i < count; i++)
        must(!steps[i].is_item || steps[i].field.len == 0);
    return count <= VD_CEL_MAX_HEIGHT;
}

static bool is_none(void *arg, const struct vd_cel_step *steps, size_t count)
{
    (void)arg, (void)steps, (void)count;
    return false;
}

static void run(struct outcome *o, struct vd_span source, const cJSON *tree, const cJSON *schema,
                bool lenient)
{
    struct vd_cel_env *env = vd_cel_env_new();
    struct vd_cel_value x = vd_cel_from_json(tree);
    struct vd_cel_eval_context context = {
        .values = &x, .count = 1, .arena = &o->arena, .max_steps = STEPS};
    struct vd_err err = {.msg = ""};
    unsigned slot;

    *o = (struct outcome){.compiled = false};
    vd_arena_init(&o->arena, 1u << 20);
    must(env != NULL && vd_cel_env_declare(env, "x", schema, &slot, &err) == VD_OK && slot == 0);
    vd_cel_env_set_lenient(env, lenient);
    o->rc = vd_cel_compile(env, source, &o->program, &err);
    o->compiled = o->rc == VD_OK;
    must(o->compiled || (o->rc == VD_E_CONFIG && err.msg[0] != '\0') || o->rc == VD_E_NOMEM);
    if (o->compiled) {
        must(vd_cel_every_read(o->program, slot, is_short, NULL));
        must(vd_cel_uses(o->program, slot) || vd_cel_every_read(o->program, slot, is_none, NULL));
        o->rc = vd_cel_eval(o->program, &context, &o->value, &err);
        must(context.steps <= STEPS);
        must(o->rc == VD_OK || err.msg[0] != '\0');
        must(o->rc == VD_OK || o->rc == VD_E_INPUT || o->rc == VD_E_LIMIT || o->rc == VD_E_NOMEM);
    }
    (void)vd_cel_env_free(env);
}

static void done(struct outcome *o)
{
    vd_arena_fini(&o->arena);
    (void)vd_cel_program_free(o->program);
}

static bool has_nan(const struct vd_cel_value *v)
{
    struct vd_cel_iter it;
    struct vd_cel_value key;
    struct vd_cel_value item;

    if (v->kind == VD_CEL_DOUBLE)
        return v->u.d != v->u.d;
    if (v->kind != VD_CEL_LIST && v->kind != VD_CEL_MAP)
        return false;
    it = vd_cel_iterate(v);
    while (vd_cel_next(&it, &key, &item))
        if (has_nan(&item))
            return true;
    return false;
}

/* Written in the suite's form and read again, it is the same value. */
static void round_trip(const struct vd_cel_value *v)
{
    struct vd_cel_value again;
    struct vd_arena arena;
    struct vd_err err;
    cJSON *tree = NULL;
    struct vd_buf text;

    vd_arena_init(&arena, 64u << 20);
    vd_buf_init(&text, 16u << 20);
    if (vd_cel_exprvalue_write(&text, v, &err) == VD_OK &&
        vd_json_parse(vd_buf_span(&text), &tree, &err) == VD_OK) { /* JSON's depth may be passed */
        must(vd_cel_exprvalue_read(tree, &arena, &again, &err) == VD_OK);
        must(vd_cel_equal(v, &again) || has_nan(v));
    }
    (void)vd_json_free(tree);
    tree = NULL;
    if (vd_cel_to_json(v, &tree, &err) == VD_OK)
        (void)vd_json_free(tree);
    vd_buf_free(&text);
    vd_arena_fini(&arena);
}

static void parse_zone(struct vd_span data)
{
    const struct vd_cel_zone *zone;
    struct vd_arena arena;

    vd_arena_init(&arena, 1u << 20);
    if (vd_cel_zone_parse(data, &arena, &zone))
        for (int64_t t = -4000000000; t < 8000000000; t += 500000000) {
            int64_t offset = vd_cel_zone_offset(zone, t);

            must(offset > -1000000 && offset < 1000000);
        }
    vd_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vd_span text = {(const char *)data, size};
    struct outcome strict;
    struct outcome lenient;
    cJSON *tree = NULL;
    size_t cut;

    if (size < 2)
        return 0;
    text = vd_span_sub(text, 1, size);
    if ((data[0] & 2) != 0 && (data[0] & 4) != 0) {
        parse_zone(text);
        return 0;
    }
    cut = vd_span_find(text, '\0');
    if (cut + 1 < text.len &&
        vd_json_parse(vd_span_sub(text, cut + 1, text.len), &tree, NULL) != VD_OK)
        return 0;
    text = vd_span_sub(text, 0, cut);
    run(&strict, text, tree, NULL, false);
    run(&lenient, text, tree, NULL, true);
    must(!strict.compiled || lenient.compiled);
    if (strict.compiled) {
        must(strict.rc == lenient.rc);
        if (strict.rc == VD_OK) {
            must(vd_cel_equal(&strict.value, &lenient.value) || has_nan(&strict.value));
            round_trip(&strict.value);
        }
    }
    done(&strict);
    done(&lenient);
    if ((data[0] & 1) != 0) {
        run(&strict, text, tree, tree, false);
        done(&strict);
    }
    (void)vd_json_free(tree);
    return 0;
}
