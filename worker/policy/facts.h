/* policy/facts.h - everything the rules of one job may look at.
 *
 * Why:      one place pins the clock, evaluates each let once, and counts the steps of all evaluations of a job.
 * Thread:   one owner at a time.
 * Owns:     trees it made from lets; the event and context trees are borrowed until vd_facts_free(). Everything else is in the arena.
 * Rules:    a let whose evaluation fails binds that error: whoever uses the name gets it, nobody else.
 * Order:    vd_facts_new() -> vd_facts_when() -> vd_facts_key() -> vd_facts_redis() -> vd_facts_set_context()... -> vd_facts_complete();
 *           state and memory are bound with the contexts
 */
#ifndef VD_POLICY_FACTS_H
#define VD_POLICY_FACTS_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "policy/policy.h"

struct vd_facts;

/* event: the view described in policies/README.md (id, type, source, subject, time, data). now_ms: wall clock, pinned. */
enum vd_code vd_facts_new(const struct vd_policy *policy, const cJSON *event, int64_t now_ms,
                          struct vd_arena *arena, struct vd_facts **ret_facts,
                          struct vd_err *err) VD_MUST_CHECK;
void *vd_facts_free(struct vd_facts *facts); /* NULL-safe; returns NULL */

/* Does input.when match? An error (also: not a boolean) is VD_E_INPUT: a dead letter, never a skip. */
enum vd_code vd_facts_when(struct vd_facts *facts, bool *ret_match,
                           struct vd_err *err) VD_MUST_CHECK;
/* The policy key, in the arena. VD_E_INPUT names the template. */
enum vd_code vd_facts_key(struct vd_facts *facts, struct vd_span *ret_key,
                          struct vd_err *err) VD_MUST_CHECK;
/* The same of input.dedupe.id; the empty span without one. */
enum vd_code vd_facts_dedupe(struct vd_facts *facts, struct vd_span *ret_id,
                             struct vd_err *err) VD_MUST_CHECK;
/* Validate the event by input.schema (no schema: valid). VD_E_INPUT with path and reason. */
enum vd_code vd_facts_validate(struct vd_facts *facts, struct vd_err *err) VD_MUST_CHECK;
/* The argv of context i: contexts[i].redis.count spans in the arena. */
enum vd_code vd_facts_redis(struct vd_facts *facts, size_t i, const struct vd_span **ret_args,
                            struct vd_err *err) VD_MUST_CHECK;
/* Bind context i; tree is what vd_context_accept() made, NULL binds null. Borrowed. */
void vd_facts_set_context(struct vd_facts *facts, size_t i, const cJSON *tree);
/* Keys of the policy's state and memory (which it must have), in the arena. VD_E_INPUT names the template. */
enum vd_code vd_facts_state_key(struct vd_facts *facts, struct vd_span *ret_key,
                                struct vd_err *err) VD_MUST_CHECK;
enum vd_code vd_facts_memory_key(struct vd_facts *facts, struct vd_span *ret_key,
                                 struct vd_err *err) VD_MUST_CHECK;
/* Bind what vd_state_accept() and vd_memory_accept() made. Borrowed. Unbound, using the name is an error. */
void vd_facts_set_state(struct vd_facts *facts, const cJSON *tree);
void vd_facts_set_memory(struct vd_facts *facts, const cJSON *rules, const cJSON *shown);
/* All contexts are bound: evaluate the other lets. Fails only for memory and step limits. */
enum vd_code vd_facts_complete(struct vd_facts *facts, struct vd_err *err) VD_MUST_CHECK;

/* -- for the judge and the prompt -------------------------------------------------------------------------------- */

const struct vd_policy *vd_facts_policy(const struct vd_facts *facts);
struct vd_arena *vd_facts_arena(struct vd_facts *facts);
/* Bind what rules see beside facts; NULL or a VD_CEL_ERROR value unbinds. */
void vd_facts_bind(struct vd_facts *facts, unsigned slot, struct vd_cel_value value);
/* Evaluate with every slot; steps are counted against the job's budget. */
enum vd_code vd_facts_eval(struct vd_facts *facts, const struct vd_cel_program *program,
                           struct vd_cel_value *ret, struct vd_err *err) VD_MUST_CHECK;
/* The same where a boolean is needed. Anything else is VD_E_INPUT. */
enum vd_code vd_facts_test(struct vd_facts *facts, const struct vd_cel_program *program, bool *ret,
                           struct vd_err *err) VD_MUST_CHECK;
/* Text of a template, with every slot; args has one span for each of argv's. In the arena. */
enum vd_code vd_facts_render(struct vd_facts *facts, const struct vd_template *template,
                             struct vd_span *ret, struct vd_err *err) VD_MUST_CHECK;
enum vd_code vd_facts_render_argv(struct vd_facts *facts, const struct vd_template_argv *argv,
                                  struct vd_span *args, struct vd_err *err) VD_MUST_CHECK;
/* The tree of a slot as JSON: event, contexts, lets. NULL when it is an error or unbound. Borrowed from facts. */
const cJSON *vd_facts_tree(struct vd_facts *facts, unsigned slot);
/* Slot of a name, or UINT_MAX. */
unsigned vd_facts_slot(const struct vd_facts *facts, struct vd_span name);
/* Is the fact at pointer trusted (input.trusted, a trusted context or tool, a let of trusted facts)? */
bool vd_facts_trusted(const struct vd_facts *facts, struct vd_span pointer);
/* What verified(evidence) asks, installed by the judge. */
void vd_facts_set_verified(struct vd_facts *facts, vd_cel_verified_fn *fn, void *arg);
uint64_t vd_facts_steps(const struct vd_facts *facts);
int64_t vd_facts_now_ms(const struct vd_facts *facts);

#endif
