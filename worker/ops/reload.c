/* ops/reload.c - see reload.h. */
#include "ops/reload.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "loop/loop.h"
#include "reason/cases.h"

#define SAID_MAX_BYTES (4u << 20) /* what the cases of one policy print */

struct reload {
    struct vd_reload_conf conf;
    vd_reload_fn *done;
    void *arg;
    struct vd_settings *settings;
    struct vd_policy_set *next;
    struct vd_diags diags;
    struct vd_err err;
    enum vd_code rc;
};

enum vd_code vd_reload_policies(const struct vd_settings *settings, struct vd_diags *diags,
                                struct vd_policy_set **ret_set, struct vd_err *err)
{
    struct vd_policy_options options = vd_settings_policy_options(settings);

    options.root = settings->policies_dir;
    return vd_policy_set_load(&settings->policies_dir, 1, &options, diags, ret_set, err);
}

bool vd_reload_keeps(const struct vd_policy_set *set)
{
    bool keeps = false;

    for (size_t i = 0; i < vd_policy_set_count(set); i++) {
        const struct vd_policy *p = vd_policy_set_get(set, i);

        keeps = keeps || p->dedupe_id != NULL || p->state != NULL || p->notes != NULL ||
                p->limit_count > 0 || p->budget.per_key.window_s > 0;
    }
    return keeps;
}

static bool topic_known(const struct vd_reload_conf *conf, const char *topic)
{
    for (size_t i = 0; i < conf->output_topic_count; i++)
        if (strcmp(conf->output_topics[i], topic) == 0)
            return true;
    return false;
}

/* What a set needs that this worker did not prepare: a topic nobody made sure of would stop publishing. */
static void check_output_topics(const struct vd_reload_conf *conf, const struct vd_policy_set *set,
                                struct vd_diags *diags)
{
    for (size_t i = 0; i < vd_policy_set_count(set); i++) {
        const struct vd_policy *p = vd_policy_set_get(set, i);
        char topic[320];

        (void)snprintf(topic, sizeof(topic), "%s.%s", conf->settings->output.prefix, p->domain);
        if (!topic_known(conf, p->output_topic != NULL ? p->output_topic : topic))
            vd_diag_error(diags, p->file, 0, "restart the worker",
                          "output topic \"%s\" was not known at start",
                          p->output_topic != NULL ? p->output_topic : topic);
    }
}

/* Redis was asked at start whether it evicts, if it mattered then. */
static void check_eviction(const struct vd_reload_conf *conf, const struct vd_policy_set *set,
                           struct vd_diags *diags)
{
    if (vd_reload_keeps(set) && !conf->redis_keeps)
        vd_diag_error(diags, conf->settings->policies_dir, 0, "restart the worker",
                      "a policy keeps something in Redis, and none did at start");
}

/* A new set decides nothing before its own cases say that it decides as meant. A policy without a cases file has none. */
static void run_cases(const struct vd_policy_set *set, struct vd_diags *diags)
{
    for (size_t i = 0; i < vd_policy_set_count(set); i++) {
        const struct vd_policy *p = vd_policy_set_get(set, i);
        char *path = vd_cases_path(p->file);
        struct vd_cases_report report = {0};
        struct vd_buf said;
        struct vd_err why;

        vd_buf_init(&said, SAID_MAX_BYTES);
        if (path != NULL && access(path, F_OK) == 0) {
            if (vd_cases_run(p, path, &said, &report, &why) != VD_OK)
                vd_diag_error(diags, path, 0, NULL, "%s", why.msg);
            else if (report.failed > 0)
                vd_diag_error(diags, path, 0, "run `verdict test` on it", "%zu of %zu cases fail",
                              report.failed, report.cases);
        }
        vd_buf_free(&said);
        (void)vd_free(path);
    }
}

static void work(void *arg)
{
    struct reload *r = arg;
    const struct vd_reload_conf *conf = &r->conf;

    if (conf->settings->path != NULL)
        (void)!vd_settings_load(conf->settings->path, &r->diags, &r->settings, &r->err);

    r->rc = vd_diags_result(&r->diags, &r->err);
    if (r->rc == VD_OK)
        r->rc = vd_reload_policies(conf->settings, &r->diags, &r->next, &r->err);
    if (r->rc == VD_OK)
        r->rc = vd_policy_set_may_replace(conf->running, r->next, &r->diags, &r->err);
    if (r->rc == VD_OK) {
        check_output_topics(conf, r->next, &r->diags);
        check_eviction(conf, r->next, &r->diags);
        run_cases(r->next, &r->diags);
        r->rc = vd_diags_result(&r->diags, &r->err);
    }
}

static void *reload_free(struct reload *r)
{
    (void)vd_policy_set_release(r->conf.running);
    (void)vd_settings_free(r->settings);
    vd_diags_fini(&r->diags);
    return vd_free(r);
}

static void work_done(void *arg)
{
    struct reload *r = arg;
    struct vd_reload_result result = {
        .rc = r->rc, .err = &r->err, .settings = r->settings, .diags = &r->diags};

    if (r->rc == VD_OK)
        result.take_next = r->next;
    else
        (void)vd_policy_set_release(r->next);
    r->done(r->arg, &result);
    (void)reload_free(r);
}

enum vd_code vd_reload_start(struct vd_loop *loop, const struct vd_reload_conf *conf,
                             vd_reload_fn *done, void *arg, struct vd_err *err)
{
    struct reload *r = vd_alloc(sizeof(*r));

    if (r == NULL)
        return vd_err_nomem(err, "reload");
    r->conf = *conf;
    r->done = done;
    r->arg = arg;
    (void)vd_policy_set_retain(conf->running);
    vd_diags_init(&r->diags);
    if (vd_loop_work(loop, work, work_done, r) != VD_OK) {
        (void)reload_free(r);
        return vd_err_nomem(err, "reload");
    }
    return VD_OK;
}
