/* commands/demo_script.h - what the demo plays: demo.json, built into the program.
 *
 * Why:      stories, sample events, the simulated model's behaviour and what Redis holds are data; the demo's code only plays them.
 * Shapes:   {"topics":  [{"name", "format", ...}],           of the worker's settings
 *            "redis":   [[command, word, ...]],               what the shop's services keep
 *            "model":   behaviour,                            see sim_behaviour.h
 *            "stories": [{"title", "tell": [line], "whole": bool, "model": change, "redis": [...], "end": [line],
 *                         "events": [{"say": line, "topic", "key", "headers": {name: value}, "value": JSON}]}],
 *            "volume":  [{"share", "hostile", "broken", "unwanted", "topic", "key", "headers", "value" or "text"}]}
 *           In an event `{n}`, `{n%40}`, `{n+7}` and `{n%40+7}` stand for its number; a string "={n%4}" becomes a JSON number.
 *           A word of Redis `@now-3600` is the wall clock in seconds less 3,600; `@date+2` the date in two days, "2026-01-31".
 * Thread:   main thread.
 */
#ifndef VD_COMMANDS_DEMO_SCRIPT_H
#define VD_COMMANDS_DEMO_SCRIPT_H

#include "base/buf.h"
#include "base/prng.h"
#include "json/json.h"
#include "kafka/kafka.h"

/* The whole script; the caller's: vd_json_free(). */
enum vd_code vd_demo_script(cJSON **ret_script, struct vd_err *err) VD_MUST_CHECK;

/* One event as a Kafka record; its texts belong to it. Zeroed by the caller before the first use. */
struct vd_demo_event {
    const char *topic;
    struct vd_buf key, value;
    struct vd_header headers[4];
    size_t header_count;
};

/* Fill *event from an element of "events" or "volume", which must outlive it. */
enum vd_code vd_demo_event_make(const cJSON *sample, unsigned n, struct vd_demo_event *event,
                                struct vd_err *err) VD_MUST_CHECK;
void vd_demo_event_fini(struct vd_demo_event *event);
/* An element of "volume", drawn by its share. */
const cJSON *vd_demo_draw(const cJSON *volume, struct vd_prng *random);

#endif
