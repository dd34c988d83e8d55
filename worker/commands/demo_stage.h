/* commands/demo_stage.h - everything the demo needs, on this machine: broker, Redis, model, worker, and their end.
 *
 * Why:      the demo tells stories; this brings up what they happen on, and takes all of it away again.
 * Thread:   main thread; the worker and the simulated model have their own.
 * Owns:     a temporary folder, a redis-server process, the embedded broker, the simulated model, the worker, a writer, a reader.
 * Rules:    everything started is stopped, also after a failure or Ctrl-C.
 */
#ifndef VD_COMMANDS_DEMO_STAGE_H
#define VD_COMMANDS_DEMO_STAGE_H

#include <stdbool.h>

#include "base/err.h"
#include "json/json.h"
#include "kafka/tool.h"

struct vd_stage_set;

struct vd_stage_conf {
    const char *policies; /* folder */
    const char *schemas;
    const cJSON *topics; /* of the settings: [{"name", "format", ...}] */
    const cJSON *redis;  /* commands that fill Redis: [[word, ...]] */
    const cJSON *sim;    /* behaviour of the simulated model, see sim_server.h */
    const char *listen;  /* admin address: "127.0.0.1:0" */
};

enum vd_code vd_stage_set_up(const struct vd_stage_conf *conf, struct vd_stage_set **ret_set,
                             struct vd_err *err) VD_MUST_CHECK;
void *vd_stage_take_down(struct vd_stage_set *set); /* NULL-safe; returns NULL */

struct vd_kafka_writer *vd_stage_writer(struct vd_stage_set *set);
struct vd_kafka_reader *
vd_stage_reader(struct vd_stage_set *set); /* decisions, review, audit, dead letters */
const char *vd_stage_brokers(const struct vd_stage_set *set);
const char *vd_stage_redis(const struct vd_stage_set *set);
const char *vd_stage_model_url(const struct vd_stage_set *set);
const char *vd_stage_admin_url(const struct vd_stage_set *set);
const char *vd_stage_log(const struct vd_stage_set *set); /* the worker's log file */
/* Change the simulated model's behaviour from now on. */
enum vd_code vd_stage_model(struct vd_stage_set *set, const cJSON *change,
                            struct vd_err *err) VD_MUST_CHECK;

#endif
