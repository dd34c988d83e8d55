/* policy/load.h - what the files that load a policy share; nobody else includes it.
 *
 * Why:      one file a part of the policy language: load.c (sections, whole files), load_names.c (input, context, let), load_actions.c
 *           (actions, rules, choices), load_params.c, load_tools.c, load_state.c (state, memory), canary.c, load_files.c (schemas,
 *           prompt, hash), check.c (what only the whole policy shows), load_help.c (what they share).
 * Thread:   one owner.
 * Errors:   a person's mistake is a diagnostic and loading goes on, so that all are found; ld->rc is set for memory only.
 */
#ifndef VD_POLICY_LOAD_H
#define VD_POLICY_LOAD_H

#include "base/arena.h"
#include "base/conf.h"
#include "base/hash.h"
#include "policy/policy.h"

typedef void *vd_release_fn(void *thing);

struct vd_owned {
    vd_release_fn *release;
    void *thing;
    struct vd_owned *next;
};

struct vd_policy_memory {
    struct vd_arena arena;
    struct vd_owned *owned;
};

struct vd_loader {
    struct vd_policy *policy;
    struct vd_arena *arena;
    struct vd_conf *conf;
    const struct vd_policy_options *options;
    struct vd_diags *diags;
    struct vd_cel_env *env; /* event, now, contexts, lets */
    cJSON *files;           /* name -> canonical text of schemas and the prompt, for the hash */
    struct vd_owned
        *spare;      /* for the next thing that is owned: it stays in use when memory is out */
    enum vd_code rc; /* VD_E_NOMEM once memory was out */
};

/* -- helpers ----------------------------------------------------------------------------------------------------- */

/* From the policy's arena; NULL sets ld->rc. */
void *vd_ld_array(struct vd_loader *ld, size_t n, size_t size);
const char *vd_ld_string(struct vd_loader *ld, struct vd_span s);
/* The policy frees thing with release, and thing may be used until then, also when memory is out and ld->rc is set. Only what comes after
 * that while it still is out is lost: freed, it would be used. */
void vd_ld_own(struct vd_loader *ld, vd_release_fn *release, void *thing);
void vd_ld_nomem(struct vd_loader *ld);
/* Read a group by rows. */
void vd_ld_read(struct vd_loader *ld, const struct vd_conf_node *group,
                const struct vd_conf_row *rows, void *target);
/* Compile the string at node; NULL after a diagnostic. wants: the kind it must have where that is known, VD_CEL_ERROR for any. */
const struct vd_cel_program *vd_ld_program(struct vd_loader *ld, const struct vd_cel_env *env,
                                           const struct vd_conf_node *node, enum vd_cel_kind wants);
const struct vd_cel_program *vd_ld_compile(struct vd_loader *ld, const struct vd_cel_env *env,
                                           struct vd_span source, const struct vd_conf_node *node,
                                           enum vd_cel_kind wants);
/* The node as JSON; NULL sets ld->rc. The policy owns it. */
const cJSON *vd_ld_json(struct vd_loader *ld, const struct vd_conf_node *node);
cJSON *vd_conf_to_json(const struct vd_conf_node *node);
/* [A-Za-z_][A-Za-z0-9_]*, not a reserved word; a diagnostic otherwise. */
bool vd_ld_name(struct vd_loader *ld, const struct vd_conf_node *node, bool binding);
/* Members of a group, at most VD_POLICY_MAX_NAMES; 0 with a diagnostic when node is no group. */
size_t vd_ld_count(struct vd_loader *ld, const struct vd_conf_node *node);

/* A strict environment of this policy's names; params_schema may be NULL. rules: with params, action, evidence, decision. */
struct vd_cel_env *vd_ld_env(struct vd_loader *ld, bool rules, const cJSON *params_schema);

/* The same as with rules = true, where decision has its status too: for what is evaluated once the outcome is known. */
struct vd_cel_env *vd_ld_outcome_env(struct vd_loader *ld);
/* JSON Schema of what is bound at slot; NULL: unknown. */
const cJSON *vd_ld_slot_schema(const struct vd_policy *policy, unsigned slot);
/* Is all that the program reads of the event named in input.trusted? */
bool vd_ld_trusts_event(const struct vd_policy *policy, const struct vd_cel_program *program);
/* Is what is bound at slot known before Redis was asked? */
bool vd_ld_early_slot(const struct vd_policy *policy, unsigned slot);

const char *const *vd_ld_strings(struct vd_loader *ld, struct vd_conf_strings from,
                                 size_t *ret_count);
/* False after a diagnostic. */
bool vd_ld_path(struct vd_loader *ld, const char *text, const struct vd_conf_node *node,
                struct vd_path *ret);
/* Item i of a list, for its line; node itself where it is no list. */
const struct vd_conf_node *vd_ld_item(const struct vd_conf_node *node, size_t i);
const struct vd_path *vd_ld_paths(struct vd_loader *ld, struct vd_conf_strings from,
                                  const struct vd_conf_node *node, size_t *ret_count);

/* -- parts ------------------------------------------------------------------------------------------------------- */

/* load_names.c: input; then contexts, lets, and all of it compiled against ld->env, which it makes. */
void vd_ld_input(struct vd_loader *ld, const struct vd_conf_node *node);
void vd_ld_names(struct vd_loader *ld, const struct vd_conf_node *root);

/* load_state.c: state and memory, their names and types; and, once everything else is loaded, their expressions. */
void vd_ld_state_names(struct vd_loader *ld, const struct vd_conf_node *root);
void vd_ld_state(struct vd_loader *ld, const struct vd_conf_node *root);

/* load_limits.c */
void vd_ld_limits(struct vd_loader *ld, const struct vd_conf_node *node);
void vd_ld_budget_per_key(struct vd_loader *ld, const struct vd_conf_node *node);

/* load_files.c */
void vd_ld_schema(struct vd_loader *ld, const char *name, const struct vd_conf_node *node,
                  const cJSON **ret_tree, const struct vd_schema **ret_schema);
const char *vd_ld_prompt(struct vd_loader *ld, const char *name, const struct vd_conf_node *node);
void vd_ld_hash(struct vd_loader *ld);

/* load_actions.c */
void vd_ld_actions(struct vd_loader *ld, const struct vd_conf_node *node);
void vd_ld_fallback(struct vd_loader *ld, const struct vd_conf_node *node);
void vd_ld_shortcuts(struct vd_loader *ld, const struct vd_conf_node *node);

/* canary.c */
void vd_ld_canary(struct vd_loader *ld, const struct vd_conf_node *node,
                  const struct vd_conf_node *head);

/* load_params.c */
void vd_ld_params(struct vd_loader *ld, const struct vd_conf_node *node, const char *prefix,
                  unsigned depth, const struct vd_param **ret, size_t *ret_count);

/* load_tools.c: after the budget. */
void vd_ld_tools(struct vd_loader *ld, const struct vd_conf_node *node,
                 const struct vd_conf_node *budget);
/* Does the path start with tools? If so it is checked. */
bool vd_ld_tool_path(struct vd_loader *ld, const struct vd_path *path,
                     const struct vd_conf_node *node);

/* check.c: with everything loaded and no error so far. */
void vd_ld_check(struct vd_loader *ld, const struct vd_conf_node *root);

#endif
