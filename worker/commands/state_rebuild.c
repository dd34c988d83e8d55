/* commands/state_rebuild.c - see state_rebuild.h. */
#include "commands/state_rebuild.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/limits.h"
#include "commands/commands.h"
#include "commands/redis_session.h"
#include "json/json.h"
#include "kafka/offsets.h"
#include "kafka/tool.h"
#include "pipeline/operations.h"
#include "policy/state.h"
#include "redis/effects.h"

#define READ_WAIT_MS    1000
#define QUIET_LIMIT_MS  30000 /* neither a record nor an end: the brokers are not answering */
#define PROGRESS_MS     5000
#define MAX_OUTSTANDING 256

struct rebuild {
    const struct vd_settings *settings;
    const char *policy;
    bool dry_run;
    struct vd_redis_session *session;
    struct vd_effect_scripts *scripts;
    size_t outstanding;
    struct vd_err err;
    enum vd_code rc; /* of the writes */
    uint64_t records, unreadable, decisions, states, notes, left_out;
    int64_t said_mono_ms;
};

static void on_restored(void *arg, const struct vd_redis_result *result)
{
    struct rebuild *r = arg;
    struct vd_effect_counts counts = {0};
    struct vd_err err = result->err;

    r->outstanding--;
    if (err.code == VD_OK)
        (void)!vd_effect_read_apply(result->replies[0], &counts, &err);
    r->left_out += (uint64_t)counts.stale;
    if (err.code != VD_OK && r->rc == VD_OK) {
        r->rc = err.code;
        r->err = err;
    }
}

/* Takes op. */
static enum vd_code restore(struct rebuild *r, struct vd_span decision_id, cJSON *take_op,
                            int64_t clock_ms, struct vd_err *err)
{
    struct vd_effect_call call = {.scripts = r->scripts,
                                  .prefix = vd_span_of(r->settings->redis_prefix),
                                  .topic = "-",
                                  .done = on_restored,
                                  .arg = r};
    struct vd_buf text;
    enum vd_code rc = VD_E_NOMEM;

    vd_buf_init(&text, VD_EFFECT_ENTRY_MAX_BYTES);
    if (take_op != NULL)
        rc = vd_json_write(&text, take_op);
    (void)vd_json_free(take_op);
    if (rc != VD_OK) {
        (void)vd_err_set(err, rc, false, "a change that is too large, or no memory");
    } else if (!r->dry_run) {
        call.redis = vd_redis_session_client(r->session);
        rc = vd_effect_restore(&call, decision_id, vd_buf_span(&text),
                               (vd_wall_ms() - clock_ms) / 1000, err);
        r->outstanding += rc == VD_OK;
    }
    vd_buf_free(&text);
    while (r->outstanding >= MAX_OUTSTANDING)
        vd_redis_session_turn(r->session);
    return rc;
}

static bool is_true(const cJSON *node)
{
    bool value = false;

    return vd_json_kind(node) == VD_JSON_BOOL && vd_json_bool(node, &value) && value;
}

/* What one audit record changed. */
static enum vd_code replay(struct rebuild *r, const cJSON *audit, struct vd_err *err)
{
    const cJSON *changes = vd_json_get(audit, "changes");
    const cJSON *state = vd_json_get(changes, "state"), *memory = vd_json_get(changes, "memory");
    struct vd_span id = vd_json_get_string(audit, "decision_id");
    char policy[VD_TEMPLATE_MAX_VALUE + 1];
    int64_t clock_ms = 0, ttl_s = 0, max_notes = 0;
    enum vd_code rc = VD_OK;

    (void)snprintf(policy, sizeof(policy), "%.*s", (int)vd_json_get_string(audit, "policy_id").len,
                   vd_json_get_string(audit, "policy_id").ptr);
    if (id.len == 0 || !vd_json_int(vd_json_get(audit, "clock_ms"), &clock_ms) ||
        (!is_true(vd_json_get(state, "written")) && !is_true(vd_json_get(memory, "written"))))
        return VD_OK;
    r->decisions++;
    if (is_true(vd_json_get(state, "written")) &&
        vd_json_int(vd_json_get(state, "ttl_s"), &ttl_s)) {
        r->states++;
        rc = restore(r, id,
                     vd_state_operation(policy, vd_json_get_string(state, "key"),
                                        vd_json_get(state, "after"), ttl_s, clock_ms,
                                        vd_json_get_string(state, "previous")),
                     clock_ms, err);
    }
    if (rc == VD_OK && is_true(vd_json_get(memory, "written")) &&
        vd_json_int(vd_json_get(memory, "ttl_s"), &ttl_s) &&
        vd_json_int(vd_json_get(memory, "max_notes"), &max_notes)) {
        r->notes++;
        rc = restore(r, id,
                     vd_note_operation(policy, vd_json_get_string(memory, "key"),
                                       vd_json_get(memory, "note"), max_notes, ttl_s),
                     clock_ms, err);
    }
    return rc;
}

static void say_progress(struct rebuild *r)
{
    if (vd_mono_ms() - r->said_mono_ms < PROGRESS_MS)
        return;
    r->said_mono_ms = vd_mono_ms();
    fprintf(stderr, "%" PRIu64 " audit records read\n", r->records);
}

static enum vd_code one_record(struct rebuild *r, const struct vd_record *rec, struct vd_err *err)
{
    cJSON *audit = NULL;
    enum vd_code rc = VD_OK;

    r->records++;
    say_progress(r);
    if (vd_json_parse(rec->value, &audit, NULL) != VD_OK) {
        r->unreadable++;
        return VD_OK;
    }
    if (r->policy == NULL || vd_span_eq_c(vd_json_get_string(audit, "policy_id"), r->policy))
        rc = replay(r, audit, err);
    (void)vd_json_free(audit);
    return rc;
}

static enum vd_code read_all(struct rebuild *r, struct vd_kafka_reader *reader, struct vd_err *err)
{
    int64_t heard_mono_ms = vd_mono_ms();
    enum vd_code rc = VD_OK;

    r->said_mono_ms = heard_mono_ms;
    while (rc == VD_OK && r->rc == VD_OK && !vd_kafka_reader_at_end(reader)) {
        const struct vd_record *rec;

        rc = vd_kafka_reader_next(reader, READ_WAIT_MS, &rec, err);
        if (rc == VD_OK && rec != NULL) {
            heard_mono_ms = vd_mono_ms();
            rc = one_record(r, rec, err);
        } else if (rc == VD_OK && vd_mono_ms() - heard_mono_ms > QUIET_LIMIT_MS) {
            rc = vd_err_set(err, VD_E_TIMEOUT, true,
                            "the end of the audit topic was not reached, and nothing comes");
        }
    }
    while (r->outstanding > 0)
        vd_redis_session_turn(r->session);
    if (rc == VD_OK && r->rc != VD_OK) {
        rc = r->rc;
        *err = r->err;
    }
    return rc;
}

/* A worker at work would change what is being rebuilt. */
static enum vd_code refuse_members(const struct vd_kafka_conf *conf, struct vd_err *err)
{
    struct vd_offsets *offsets = NULL;
    size_t members = 0;
    enum vd_code rc = vd_offsets_open(conf, &offsets, err);

    if (rc == VD_OK)
        rc = vd_offsets_members(offsets, conf->group, &members, err);
    if (rc == VD_OK && members > 0)
        rc = vd_err_set(err, VD_E_CONFIG, false,
                        "group %s has %zu members: stop the workers first (a static one stays a "
                        "member until its "
                        "session ends), or use --dry-run",
                        conf->group, members);
    (void)vd_offsets_close(offsets);
    return rc;
}

static enum vd_code work(struct rebuild *r, struct vd_err *err)
{
    const char *topics[] = {r->settings->output.audit};
    struct vd_kafka_reader *reader = NULL;
    struct vd_kafka_conf conf;
    enum vd_code rc = vd_settings_kafka(r->settings, topics, 1, &conf, err);

    if (rc == VD_OK && !r->dry_run)
        rc = refuse_members(&conf, err);
    if (rc == VD_OK && !r->dry_run)
        rc = vd_redis_session_open(r->settings, &r->session, err);
    if (rc == VD_OK)
        rc = vd_effect_scripts_new(&r->scripts, err);
    if (rc == VD_OK)
        rc = vd_kafka_reader_new(&conf, topics, 1, VD_KAFKA_UP_TO_NOW, &reader, err);
    if (rc == VD_OK)
        rc = read_all(r, reader, err);
    (void)vd_kafka_reader_free(reader);
    (void)vd_redis_session_close(r->session);
    (void)vd_effect_scripts_free(r->scripts);
    return rc;
}

int vd_state_rebuild(const struct vd_settings *settings, const char *policy, bool dry_run)
{
    struct rebuild r = {.settings = settings, .policy = policy, .dry_run = dry_run};
    struct vd_err err;
    enum vd_code rc = work(&r, &err);

    printf("%" PRIu64 " audit records, %" PRIu64 " unreadable; %" PRIu64
           " decisions changed something: %" PRIu64 " states, %" PRIu64 " notes%s\n",
           r.records, r.unreadable, r.decisions, r.states, r.notes,
           dry_run ? "; nothing was written" : "");
    if (!dry_run)
        printf("%" PRIu64 " of these were there already, older than what is there, or expired\n",
               r.left_out);
    if (rc != VD_OK)
        fprintf(stderr, "verdict state: %s\n", err.msg);
    return vd_code_exit(rc);
}
