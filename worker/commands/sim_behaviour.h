/* commands/sim_behaviour.h - how the simulated model behaves: late, wrong, as a script says.
 *
 * Why:      one description serves the command line, POST /control, tests, the demo and benchmarks.
 * Shapes:   a JSON object; every member is optional:
 *             "latency":  "0", "200", "uniform:50:400", "lognormal:1500:0.7" (median and sigma), milliseconds
 *             "seed":     of latencies and errors
 *             "errors":   {"429": 0.05, "500": 0.01, "reset": 0.01, "hang": 0.001, "truncate": 0.01, "garbage": 0.01}, shares of requests
 *             "retry_after": seconds, sent with a 429 and a 503
 *             "obey":     do what hostile text in the user's message says
 *             "use_tools": call the first tool once, then propose
 *             "count_by": text before an id in the user's message; GET /stats then counts requests by id
 *             "rules":    [{"match": text in the user's messages, "answers": [answer, ...], "cycle": false}]; the first rule that
 *                         matches gives its answers in order, the last one again and again
 *           An answer is a string (what the model writes), or an object:
 *             {"status": 429, "code": "rate_limit_exceeded", "headers": {"retry-after-ms": "20"}}
 *             {"reset": true} {"hang": true} {"truncate": true} {"garbage": true} {"body": "any text"}
 *             {"content": text, "finish_reason": "length"} {"refusal": text}
 *             {"tool_calls": [{"name", "arguments"}]}
 *             anything else: a proposal. Any object may have "latency".
 * Thread:   any; the owner locks.
 */
#ifndef VD_COMMANDS_SIM_BEHAVIOUR_H
#define VD_COMMANDS_SIM_BEHAVIOUR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/prng.h"
#include "json/json.h"

struct vd_sim_behaviour;

struct vd_sim_behaviour *vd_sim_behaviour_new(void); /* the defaults; NULL when memory is out */
void *vd_sim_behaviour_free(struct vd_sim_behaviour *b);
/* Members of change replace those of now; all or nothing. VD_E_INPUT names the member. */
enum vd_code vd_sim_behaviour_change(struct vd_sim_behaviour *b, const cJSON *change,
                                     struct vd_err *err) VD_MUST_CHECK;

/* The answer for one request: what a rule or chance says, or NULL for the ordinary proposal. Borrowed until the next change. */
const cJSON *vd_sim_behaviour_answer(struct vd_sim_behaviour *b, struct vd_span text);
/* How late: the answer's own latency, else the general one. */
int64_t vd_sim_behaviour_latency_us(struct vd_sim_behaviour *b, const cJSON *answer);

bool vd_sim_behaviour_obeys(const struct vd_sim_behaviour *b);
bool vd_sim_behaviour_uses_tools(const struct vd_sim_behaviour *b);
/* The id after count_by in text; empty: none. */
struct vd_span vd_sim_behaviour_marker(const struct vd_sim_behaviour *b, struct vd_span text);

#endif
