/* cel/program.c - environments, compiling, and what a program tells about itself; see cel.h. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "cel/check.h"
#include "cel/lexer.h"
#include "cel/parser.h"
#include "cel/regex.h"

/* -- environment ------------------------------------------------------------------------------------------------- */

struct vd_cel_env *vd_cel_env_new(void)
{
    return vd_alloc(sizeof(struct vd_cel_env));
}

void *vd_cel_env_free(struct vd_cel_env *env)
{
    if (env == NULL)
        return NULL;
    for (size_t i = 0; i < env->count; i++)
        (void)vd_free(env->names[i].name);
    (void)vd_free(env->names);
    (void)vd_free(env->container);
    return vd_free(env);
}

enum vd_code vd_cel_env_declare(struct vd_cel_env *env, const char *name, const cJSON *schema,
                                unsigned *ret_slot, struct vd_err *err)
{
    char *copy;

    if (name[0] == '\0' || strlen(name) >= VD_CEL_MAX_NAME_LEN)
        return vd_err_set(err, VD_E_CONFIG, false, "a variable's name is empty or too long");
    for (size_t i = 0; i < env->count; i++)
        if (strcmp(env->names[i].name, name) == 0)
            return vd_err_set(err, VD_E_CONFIG, false, "\"%.60s\" is declared twice", name);
    if (env->count == VD_CEL_MAX_NAMES)
        return vd_err_set(err, VD_E_LIMIT, false, "too many variables are declared");
    if (env->count == env->cap) {
        size_t cap = env->cap == 0 ? 8 : env->cap * 2;
        struct vd_cel_name *bigger = vd_realloc_array(env->names, cap, sizeof(*bigger));

        if (bigger == NULL)
            return vd_err_nomem(err, "cel environment");
        env->names = bigger;
        env->cap = cap;
    }
    copy = vd_strdup(name);
    if (copy == NULL)
        return vd_err_nomem(err, "cel environment");
    env->names[env->count] = (struct vd_cel_name){copy, schema};
    if (ret_slot != NULL)
        *ret_slot = (unsigned)env->count;
    env->count++;
    return VD_OK;
}

enum vd_code vd_cel_env_set_container(struct vd_cel_env *env, const char *container)
{
    char *copy = container != NULL && container[0] != '\0' ? vd_strdup(container) : NULL;

    if (container != NULL && container[0] != '\0' && copy == NULL)
        return VD_E_NOMEM;
    (void)vd_free(env->container);
    env->container = copy;
    return VD_OK;
}

size_t vd_cel_env_count(const struct vd_cel_env *env)
{
    return env->count;
}

void vd_cel_env_set_lenient(struct vd_cel_env *env, bool lenient)
{
    env->lenient = lenient;
}

/* -- compiling --------------------------------------------------------------------------------------------------- */

void *vd_cel_program_free(struct vd_cel_program *program)
{
    if (program == NULL)
        return NULL;
    vd_cel_regex_free_all(program->regexes);
    vd_arena_fini(&program->arena);
    return vd_free(program);
}

static enum vd_code prepare(const struct vd_cel_env *env, struct vd_span source,
                            struct vd_cel_program *program, struct vd_err *err)
{
    if (source.len > VD_CEL_MAX_SOURCE_BYTES)
        return vd_err_set(err, VD_E_CONFIG, false, "the expression is longer than %d bytes",
                          VD_CEL_MAX_SOURCE_BYTES);
    if (!vd_cel_utf8_valid(source))
        return vd_err_set(err, VD_E_CONFIG, false, "the expression is not UTF-8");
    program->slot_count = env->count;
    program->uses = vd_arena_array(&program->arena, env->count + 1, sizeof(bool));
    if (program->uses == NULL || vd_arena_dup(&program->arena, source, &program->source) != VD_OK)
        return vd_err_nomem(err, "cel program");
    return VD_OK;
}

enum vd_code vd_cel_compile(const struct vd_cel_env *env, struct vd_span source,
                            struct vd_cel_program **ret_program, struct vd_err *err)
{
    struct vd_cel_program *program = vd_alloc(sizeof(*program));
    enum vd_code rc;

    if (program == NULL)
        return vd_err_nomem(err, "cel program");
    vd_arena_init(&program->arena, VD_CEL_PROGRAM_BYTES);
    rc = prepare(env, source, program, err);
    if (rc == VD_OK)
        rc = vd_cel_parse(program, err);
    if (rc == VD_OK)
        rc = vd_cel_check(env, program, err);
    if (rc != VD_OK) {
        (void)vd_cel_program_free(program);
        return rc;
    }
    *ret_program = program;
    return VD_OK;
}

struct vd_span vd_cel_source(const struct vd_cel_program *program)
{
    return program->source;
}

bool vd_cel_uses(const struct vd_cel_program *program, unsigned slot)
{
    return slot < program->slot_count && program->uses[slot];
}

enum vd_cel_kind vd_cel_result_kind(const struct vd_cel_program *program)
{
    uint32_t kinds = program->root->kinds;

    if (kinds == 0 || (kinds & (kinds - 1)) != 0)
        return VD_CEL_ERROR;
    return (enum vd_cel_kind)__builtin_ctz(kinds);
}

bool vd_cel_error_place(const struct vd_err *err, unsigned *ret_line, unsigned *ret_column)
{
    struct vd_span s = vd_span_of(err->msg);
    uint64_t line = 1;
    uint64_t column;

    if (vd_span_starts(s, VD_LIT("line "))) {
        s = vd_span_sub(s, 5, s.len);
        if (!vd_parse_u64(vd_span_sub(s, 0, vd_span_find(s, ',')), UINT16_MAX, &line))
            return false;
        s = vd_span_sub(s, vd_span_find(s, ',') + 2, s.len);
    }
    if (!vd_span_starts(s, VD_LIT("column ")))
        return false;
    s = vd_span_sub(s, 7, s.len);
    if (!vd_parse_u64(vd_span_sub(s, 0, vd_span_find(s, ':')), UINT16_MAX, &column))
        return false;
    *ret_line = (unsigned)line;
    *ret_column = (unsigned)column;
    return true;
}
