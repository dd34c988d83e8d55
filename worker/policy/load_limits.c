/* policy/load_limits.c - see load.h: limits across decisions, and the budget of a key. */
#include <string.h>

#include "base/limits.h"
#include "policy/limits.h"
#include "policy/load.h"

#define ROW(s, f) offsetof(struct s, f)
#define END_OF_TABLE                                                                               \
    {                                                                                              \
        .name = NULL                                                                               \
    }

#define CONFIRMED_DEFAULT_S (30 * 86400) /* what was sold is seen elsewhere by then */

struct limit {
    const char *key, *measure, *each, *when, *confirm, *release, *why;
    int64_t window_s, hold_s;
    const struct vd_conf_node *max;
    int on_exceed;
};

/* In the order of enum vd_on_fail. */
static const char *const exceed_words[] = {"repair", "reject", "escalate", NULL};

static const struct vd_conf_row limit_rows[] = {
    {"key", VD_CONF_T_STRING, ROW(limit, key), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "key = \"{event.data.seller}\"", NULL},
    {"window_s", VD_CONF_T_INT, ROW(limit, window_s), "0", 0, INT32_MAX, "s", 0,
     "how long a decision counts", NULL},
    {"hold_s", VD_CONF_T_INT, ROW(limit, hold_s), "0", 0, INT32_MAX, "s", 0,
     "how long it is held for a later event", NULL},
    {"max", VD_CONF_T_NODE, ROW(limit, max), NULL, 0, 0, NULL, VD_CONF_REQUIRED,
     "max = 500; or max = \"CEL\"", NULL},
    {"measure", VD_CONF_T_STRING, ROW(limit, measure), NULL, 0, 0, NULL, 0,
     "what one decision uses; 1", NULL},
    {"each", VD_CONF_T_STRING, ROW(limit, each), NULL, 0, 0, NULL, 0,
     "a list: one reservation for each item", NULL},
    {"when", VD_CONF_T_STRING, ROW(limit, when), NULL, 0, 0, NULL, 0, "which decisions it counts",
     NULL},
    {"confirm", VD_CONF_T_STRING, ROW(limit, confirm), NULL, 0, 0, NULL, 0, "what was held stays",
     NULL},
    {"release", VD_CONF_T_STRING, ROW(limit, release), NULL, 0, 0, NULL, 0, "what was held is free",
     NULL},
    {"on_exceed", VD_CONF_T_ENUM, ROW(limit, on_exceed), "repair", 0, 0, NULL, 0,
     "when there is not so much left", exceed_words},
    {"why", VD_CONF_T_STRING, ROW(limit, why), NULL, 1, 1024, NULL, 0,
     "what the model is told when it is reached", NULL},
    END_OF_TABLE,
};

static const struct vd_conf_row per_key_rows[] = {
    {"window_s", VD_CONF_T_INT, ROW(vd_budget_per_key, window_s), NULL, 1, INT32_MAX, "s",
     VD_CONF_REQUIRED, "window_s = 3600", NULL},
    {"max_model_calls", VD_CONF_T_INT, ROW(vd_budget_per_key, max_model_calls), NULL, 1, INT32_MAX,
     NULL, VD_CONF_REQUIRED, "max_model_calls = 10", NULL},
    END_OF_TABLE,
};

static void *release_template(void *thing)
{
    return vd_template_free(thing);
}

static void mistake(struct vd_loader *ld, const struct vd_conf_node *node, const char *hint,
                    const char *what)
{
    vd_diag_error(ld->diags, node->file, node->line, hint, "%s: %s", node->path, what);
}

/* -- one limit ----------------------------------------------------------------------------------------------------- */

static const struct vd_template *load_key(struct vd_loader *ld, const struct vd_cel_env *env,
                                          const struct vd_conf_node *node)
{
    struct vd_template *template;
    struct vd_err err;
    enum vd_code rc;

    if (node == NULL || node->kind != VD_CONF_STRING)
        return NULL; /* said already */
    rc = vd_template_compile(env, node->path, node->u.s, &template, &err);
    if (rc == VD_OK)
        vd_ld_own(ld, release_template, template);
    else if (rc == VD_E_NOMEM)
        vd_ld_nomem(ld);
    else
        vd_diag_error(ld->diags, node->file, node->line, NULL, "%s: %s in \"%.100s\"", node->path,
                      err.msg, node->u.s.ptr);
    return rc == VD_OK ? template : NULL;
}

/* A program that gives a number, as far as it can be known now. */
static const struct vd_cel_program *load_amount(struct vd_loader *ld, const struct vd_cel_env *env,
                                                const struct vd_conf_node *node)
{
    const struct vd_cel_program *program = vd_ld_program(ld, env, node, VD_CEL_ERROR);
    enum vd_cel_kind kind = program == NULL ? VD_CEL_ERROR : vd_cel_result_kind(program);

    if (kind != VD_CEL_ERROR && kind != VD_CEL_INT && kind != VD_CEL_UINT && kind != VD_CEL_DOUBLE)
        vd_diag_error(ld->diags, node->file, node->line, "a whole number", "%s is a %s", node->path,
                      vd_cel_kind_name(kind));
    return program;
}

static void load_max(struct vd_loader *ld, const struct vd_cel_env *env,
                     const struct vd_conf_node *node, struct vd_limit *out)
{
    if (node == NULL)
        return;
    if (node->kind == VD_CONF_STRING)
        out->max_program = load_amount(ld, env, node);
    else if (node->kind == VD_CONF_INT && node->u.i >= 0 && node->u.i <= VD_LIMIT_MAX_AMOUNT)
        out->max = node->u.i;
    else
        mistake(ld, node, "max = 500; or max = \"CEL\"", "is no whole number from 0 to 2^53");
}

/* How long things count, and what does not go together. */
static void load_times(struct vd_loader *ld, const struct vd_conf_node *node,
                       const struct limit *read, struct vd_limit *out)
{
    int64_t confirmed_s = read->window_s > 0 ? read->window_s : CONFIRMED_DEFAULT_S;
    int64_t longest_s;

    out->holds = read->hold_s > 0;
    out->keep_ms = (out->holds ? read->hold_s : read->window_s) * 1000;
    out->confirmed_ms = confirmed_s * 1000;
    longest_s = out->holds && read->confirm != NULL && confirmed_s > read->hold_s
                    ? confirmed_s * 1000
                    : out->keep_ms;
    out->closed_ms = longest_s;
    if (read->window_s == 0 && read->hold_s == 0)
        mistake(ld, node, "window_s = 3600; or hold_s = 300;", "has neither window_s nor hold_s");
    if (!out->holds && read->confirm != NULL)
        mistake(ld, vd_conf_get(node, "confirm"), "hold_s = 300;",
                "only what is held (hold_s) can be confirmed");
    if (!out->holds && read->release != NULL)
        mistake(ld, vd_conf_get(node, "release"), "hold_s = 300;",
                "only what is held (hold_s) can be released");
    if (out->holds && read->window_s > 0 && read->confirm == NULL)
        mistake(ld, vd_conf_get(node, "window_s"), "confirm = \"CEL\";",
                "beside hold_s says how long a confirmed hold counts, and nothing confirms it");
}

static void load_limit(struct vd_loader *ld, const struct vd_conf_node *node,
                       const struct vd_cel_env *env, const struct vd_cel_env *each_env,
                       struct vd_limit *out)
{
    struct limit read = {0};
    const struct vd_cel_env *own;

    vd_ld_read(ld, node, limit_rows, &read);
    own = read.each != NULL ? each_env : env;
    out->name = vd_ld_string(ld, vd_span_of(node->name));
    out->id = vd_arena_printf(ld->arena, "limits.%s", node->name);
    out->base = vd_arena_printf(ld->arena, "limit:%s:%s",
                                ld->policy->id != NULL ? ld->policy->id : "", node->name);
    out->why = vd_ld_string(
        ld, vd_span_of(read.why != NULL ? read.why : "A limit across decisions is reached."));
    if (out->id == NULL || out->base == NULL)
        vd_ld_nomem(ld);
    out->on_exceed = (enum vd_on_fail)read.on_exceed;
    load_times(ld, node, &read, out);
    out->each = vd_ld_program(ld, env, vd_conf_get(node, "each"), VD_CEL_LIST);
    out->when = vd_ld_program(ld, env, vd_conf_get(node, "when"), VD_CEL_BOOL);
    out->confirm = vd_ld_program(ld, env, vd_conf_get(node, "confirm"), VD_CEL_BOOL);
    out->release = vd_ld_program(ld, env, vd_conf_get(node, "release"), VD_CEL_BOOL);
    out->measure = load_amount(ld, own, vd_conf_get(node, "measure"));
    out->key = load_key(ld, own, vd_conf_get(node, "key"));
    load_max(ld, own, read.max, out);
}

/* -- all of them --------------------------------------------------------------------------------------------------- */

void vd_ld_limits(struct vd_loader *ld, const struct vd_conf_node *node)
{
    struct vd_policy *p = ld->policy;
    size_t count = vd_ld_count(ld, node), n = 0;
    struct vd_limit *limits = vd_ld_array(ld, count, sizeof(*limits));
    struct vd_cel_env *env, *each_env;
    unsigned slot = 0;

    if (count == 0 || limits == NULL)
        return;
    env = vd_ld_env(ld, true, NULL);
    each_env = ld->rc == VD_OK ? vd_ld_env(ld, true, NULL) : NULL;
    if (ld->rc == VD_OK && vd_cel_env_declare(each_env, "item", NULL, &slot, NULL) != VD_OK)
        vd_ld_nomem(ld);
    for (const struct vd_conf_node *l = node->first; l != NULL && ld->rc == VD_OK; l = l->next)
        if (vd_ld_name(ld, l, false))
            load_limit(ld, l, env, each_env, &limits[n++]);
    vd_cel_env_free(env);
    vd_cel_env_free(each_env);
    p->limits = limits;
    p->limit_count = n;
}

void vd_ld_budget_per_key(struct vd_loader *ld, const struct vd_conf_node *node)
{
    if (node != NULL)
        vd_ld_read(ld, node, per_key_rows, &ld->policy->budget.per_key);
}
