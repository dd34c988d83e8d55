/* reason/changes.c - see changes.h. */
#include "reason/changes.h"

#include "policy/memory.h"
#include "policy/redact.h"
#include "policy/state.h"
#include "policy/walk.h"
#include "reason/internal.h"

/* decision as `next`, `note`, `when` and `fields` see it; the names beside it are its members. */
static cJSON *outcome_tree(const struct vd_outcome *o)
{
    const char *by = vd_decided_by_name(o->decided_by);
    cJSON *d = cJSON_CreateObject();
    bool ok =
        d != NULL &&
        vd_json_put(d, "params",
                    o->params != NULL ? vd_json_copy(o->params) : cJSON_CreateObject()) &&
        vd_json_put(d, "evidence",
                    o->evidence != NULL ? vd_json_copy(o->evidence) : cJSON_CreateArray()) &&
        vd_json_put(d, "action",
                    o->action != NULL ? vd_json_new_string(vd_span_of(o->action->name))
                                      : cJSON_CreateNull()) &&
        vd_json_put(d, "confidence", vd_json_new_double(o->has_confidence ? o->confidence : 1.0)) &&
        vd_json_put(d, "decided_by",
                    by != NULL ? vd_json_new_string(vd_span_of(by)) : cJSON_CreateNull()) &&
        vd_json_put(d, "status", vd_json_new_string(vd_span_of(vd_status_name(o->status))));

    return ok ? d : vd_json_free(d);
}

static void bind(struct vd_facts *facts, const cJSON *d)
{
    static const struct vd_cel_value unbound = {.kind = VD_CEL_ERROR};
    const struct vd_policy *p = vd_facts_policy(facts);
    const struct {
        unsigned slot;
        const cJSON *value;
    } names[] = {{p->slot_params, vd_json_get(d, "params")},
                 {p->slot_evidence, vd_json_get(d, "evidence")},
                 {p->slot_action, vd_json_get(d, "action")},
                 {p->slot_decision, d}};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        vd_facts_bind(facts, names[i].slot, d != NULL ? vd_cel_from_json(names[i].value) : unbound);
}

/* Strings of a flat object, without what the policy keeps from the audit. */
static enum vd_code redact_strings(struct vd_reason *r, cJSON *object, struct vd_err *err)
{
    enum vd_code rc = VD_OK;
    cJSON *member = object == NULL ? NULL : object->child;

    if (!vd_redacts(vd_facts_policy(r->facts), VD_REDACT_AUDIT))
        return VD_OK;
    for (; member != NULL && rc == VD_OK; member = member->next) {
        struct vd_buf text;

        if (vd_json_kind(member) != VD_JSON_STRING)
            continue;
        rc = vd_reason_redact_text(r, vd_json_string(member), &text, err);
        if (rc == VD_OK && !vd_span_eq(vd_buf_span(&text), vd_json_string(member))) {
            cJSON *node = vd_json_new_string(vd_buf_span(&text));

            if (node == NULL || !vd_walk_replace(object, member, node)) {
                vd_json_free(node);
                rc = vd_err_nomem(err, "changes");
            } else {
                member = node;
            }
        }
        vd_buf_free(&text);
    }
    return rc;
}

static enum vd_code find_changes(struct vd_reason *r, struct vd_span decision_id,
                                 struct vd_changes *c, struct vd_err *err)
{
    const struct vd_policy *p = vd_facts_policy(r->facts);
    const struct vd_outcome *o = &r->outcome;
    enum vd_code rc = VD_OK;

    if (p->state != NULL && vd_facts_tree(r->facts, p->state->slot) != NULL) {
        c->before = vd_facts_tree(r->facts, p->state->slot);
        rc = vd_state_next(r->facts, &c->after, &c->errors, err);
    }
    if (rc == VD_OK && c->errors == NULL)
        c->errors = cJSON_CreateArray();
    if (rc == VD_OK && c->errors == NULL)
        rc = vd_err_nomem(err, "changes");
    if (rc == VD_OK && p->notes != NULL && vd_facts_tree(r->facts, p->notes->slot) != NULL)
        rc = vd_memory_note(r->facts, decision_id,
                            vd_span_of(o->action != NULL ? o->action->name : NULL),
                            vd_span_of(vd_status_name(o->status)), &c->note, c->errors, err);
    if (rc == VD_OK)
        rc = redact_strings(r, c->after, err);
    return rc == VD_OK ? redact_strings(r, c->note, err) : rc;
}

enum vd_code vd_reason_changes(struct vd_reason *reason, struct vd_span decision_id,
                               struct vd_changes *ret, struct vd_err *err)
{
    const struct vd_policy *p = vd_facts_policy(reason->facts);
    struct vd_changes changes = {0};
    cJSON *decision;
    enum vd_code rc;

    *ret = changes;
    if ((p->state == NULL && p->notes == NULL) ||
        reason->outcome.degraded_reason == vd_stop_name(VD_STOP_CONTEXT_UNAVAILABLE))
        return VD_OK;
    decision = outcome_tree(&reason->outcome);
    if (decision == NULL)
        return vd_err_nomem(err, "changes");
    bind(reason->facts, decision);
    rc = find_changes(reason, decision_id, &changes, err);
    bind(reason->facts, NULL);
    vd_json_free(decision);
    if (rc != VD_OK)
        vd_changes_fini(&changes);
    else
        *ret = changes;
    return rc;
}

void vd_changes_fini(struct vd_changes *changes)
{
    changes->after = vd_json_free(changes->after);
    changes->note = vd_json_free(changes->note);
    changes->errors = vd_json_free(changes->errors);
}

bool vd_changes_round(const struct vd_changes *changes, int64_t *ret_round)
{
    return vd_json_int(vd_json_get(changes->after, "round"), ret_round);
}
