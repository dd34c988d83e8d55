/* cel/function.c - see function.h. */
#include "cel/function.h"

static const struct vd_cel_function *const tables[] = {
    vd_cel_functions_convert,
    vd_cel_functions_string,
    vd_cel_functions_time,
    vd_cel_functions_policy,
};

#define TABLES (sizeof(tables) / sizeof(tables[0]))

const struct vd_cel_function *vd_cel_function_find(struct vd_span name, bool is_method,
                                                   size_t arg_count)
{
    enum vd_cel_style style = is_method ? VD_CEL_METHOD : VD_CEL_GLOBAL;

    for (size_t i = 0; i < TABLES; i++)
        for (const struct vd_cel_function *f = tables[i]; f->name != NULL; f++)
            if ((f->style & style) != 0 && arg_count >= f->arg_min && arg_count <= f->arg_max &&
                vd_span_eq_c(name, f->name))
                return f;
    return NULL;
}

bool vd_cel_function_exists(struct vd_span name)
{
    for (size_t i = 0; i < TABLES; i++)
        for (const struct vd_cel_function *f = tables[i]; f->name != NULL; f++)
            if (vd_span_eq_c(name, f->name))
                return true;
    return false;
}

void vd_cel_function_names(bool is_method, void (*visit)(void *arg, const char *name), void *arg)
{
    enum vd_cel_style style = is_method ? VD_CEL_METHOD : VD_CEL_GLOBAL;

    for (size_t i = 0; i < TABLES; i++)
        for (const struct vd_cel_function *f = tables[i]; f->name != NULL; f++)
            if ((f->style & style) != 0)
                visit(arg, f->name);
}

uint32_t vd_cel_function_mask(const struct vd_cel_function *f, size_t i)
{
    size_t last = f->arg_max < VD_CEL_FUNCTION_ARGS ? f->arg_max : VD_CEL_FUNCTION_ARGS;

    return f->args[i < last ? i : last - 1];
}
