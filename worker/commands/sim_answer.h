/* commands/sim_answer.h - what the simulated model reads in a request, and the proposal it makes of it.
 *
 * Why:      it knows no policy: like a real model it sees a schema and a text, and answers something that fits. Deterministic.
 * Thread:   any; pure.
 */
#ifndef VD_COMMANDS_SIM_ANSWER_H
#define VD_COMMANDS_SIM_ANSWER_H

#include <stdbool.h>

#include "base/buf.h"
#include "json/json.h"

struct vd_sim_request {
    bool anthropic;
    const cJSON *body;       /* borrowed */
    const cJSON *schema;     /* of the proposal, NULL: none was found; inside body or schema_tree */
    cJSON *schema_tree;      /* owned: a schema that stood in the system text */
    struct vd_span tool;     /* the proposal is this tool's call; empty: it is the content */
    const cJSON *first_tool; /* a tool that is not the proposal; NULL: none */
    struct vd_buf text;      /* of all user messages and tool results */
    unsigned turns; /* assistant messages so far that call no tool: proposals that were refused */
    bool has_tool_result;
};

/* Never fails: what is not there is empty. */
void vd_sim_request_init(struct vd_sim_request *r, const cJSON *body, bool anthropic);
void vd_sim_request_fini(struct vd_sim_request *r);

/* A value that the schema accepts (its structured-output subset), chosen by the text. With obey set and an order in the text, the
 * value does what the text says, within the schema or not, unless the model was told no before. Owned; NULL when memory is out. */
cJSON *vd_sim_propose(const struct vd_sim_request *r, bool obey);
/* Arguments for a tool that is not the proposal. */
cJSON *vd_sim_arguments(const struct vd_sim_request *r, const cJSON *tool);

#endif
