/* commands/sim_server.h - a simulated model: an HTTP server that speaks the OpenAI and Anthropic APIs.
 *
 * Why:      tests, the demo and benchmarks need a model that is fast or slow, good or hostile, broken on purpose, and counts.
 * Thread:   its own (libmicrohttpd's, epoll); the functions here may be called from any thread. One timer thread answers later.
 * Owns:     its copies of the settings and rules.
 */
#ifndef VD_COMMANDS_SIM_SERVER_H
#define VD_COMMANDS_SIM_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "json/json.h"

struct vd_sim;

/* Start on host:port (port 0: one is chosen). behaviour: JSON object as for POST /control, or NULL for the defaults. */
enum vd_code vd_sim_start(const char *host, uint16_t port, const cJSON *behaviour,
                          struct vd_sim **ret_sim, struct vd_err *err) VD_MUST_CHECK;
/* Answers nothing more, closes, joins. NULL-safe. */
void *vd_sim_stop(struct vd_sim *sim);

const char *vd_sim_url(const struct vd_sim *sim); /* "http://127.0.0.1:PORT"; without /v1 */

/* Change behaviour from now on: the members of change replace those of now; the schema is in `verdict model-sim --help`. */
enum vd_code vd_sim_control(struct vd_sim *sim, const cJSON *change,
                            struct vd_err *err) VD_MUST_CHECK;
/* The counters, as GET /stats answers them: one JSON object. */
enum vd_code vd_sim_stats(struct vd_sim *sim, struct vd_buf *out) VD_MUST_CHECK;

#endif
