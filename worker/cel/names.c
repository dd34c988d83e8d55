/* cel/names.c - see names.h. */
#include "cel/names.h"

#include <string.h>

/* A selection a.b.c from a plain name: its nodes from the name on; 0 when n is none, or is too long to be a qualified name. */
size_t vd_cel_chain_gather(struct vd_cel_node *n, struct vd_cel_node *chain[VD_CEL_MAX_HEIGHT])
{
    size_t count = n->height;

    if (count > VD_CEL_MAX_HEIGHT)
        return 0;
    for (size_t i = count; i > 0; i--) {
        chain[i - 1] = n;
        if (n->op == VD_CEL_OP_IDENT)
            return i == 1 ? count : 0;
        if (n->op != VD_CEL_OP_SELECT)
            return 0;
        n = n->args[0];
    }
    return 0;
}

/* The first `count` names of the chain with dots, behind a container of prefix_len bytes. */
bool vd_cel_chain_join(struct vd_cel_node *const *chain, size_t count, struct vd_span prefix,
                       char text[VD_CEL_MAX_NAME_LEN])
{
    size_t len = 0;

    if (prefix.len > 0) {
        if (prefix.len + 1 >= VD_CEL_MAX_NAME_LEN)
            return false;
        memcpy(text, prefix.ptr, prefix.len);
        text[prefix.len] = '.';
        len = prefix.len + 1;
    }
    for (size_t i = 0; i < count; i++) {
        struct vd_span name = chain[i]->u.call.name;

        if (i > 0 && chain[i]->u.call.is_absolute) /* in backquotes: only ever a field */
            return false;
        if (len + name.len + 2 > VD_CEL_MAX_NAME_LEN)
            return false;
        if (i > 0)
            text[len++] = '.';
        memcpy(text + len, name.ptr, name.len);
        len += name.len;
    }
    text[len] = '\0';
    return true;
}

static bool find_slot(const struct vd_cel_env *env, const char *name, uint16_t *ret)
{
    for (size_t i = 0; i < env->count; i++) {
        if (strcmp(env->names[i].name, name) == 0) {
            *ret = (uint16_t)i;
            return true;
        }
    }
    return false;
}

static bool find_type(const char *name, struct vd_cel_value *ret)
{
    for (unsigned k = 0; k < VD_CEL_ERROR; k++) {
        if (strcmp(vd_cel_type_name((enum vd_cel_kind)k), name) == 0) {
            struct vd_cel_value v = {.kind = (enum vd_cel_kind)k};

            *ret = vd_cel_type_of(&v);
            return true;
        }
    }
    return false;
}

/* The longest run of the chain's names that is declared, in the container first, then outwards: A.B.x, A.x, x. */
enum vd_cel_found vd_cel_chain_resolve(const struct vd_cel_env *env,
                                       struct vd_cel_node *const *chain, size_t count,
                                       size_t *ret_len, uint16_t *ret_slot,
                                       struct vd_cel_value *ret_type)
{
    char text[VD_CEL_MAX_NAME_LEN];

    for (size_t len = count; len > 0; len--) {
        struct vd_span container = vd_span_of(chain[0]->u.call.is_absolute ? NULL : env->container);

        for (;;) {
            const char *dot;

            *ret_len = len;
            if (vd_cel_chain_join(chain, len, container, text)) {
                if (find_slot(env, text, ret_slot))
                    return VD_CEL_FOUND_SLOT;
                if (find_type(text, ret_type))
                    return VD_CEL_FOUND_TYPE;
            }
            if (container.len == 0)
                break;
            dot = memrchr(container.ptr, '.', container.len);
            container.len = dot != NULL ? (size_t)(dot - container.ptr) : 0;
        }
    }
    return VD_CEL_FOUND_NOTHING;
}
