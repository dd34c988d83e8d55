/* commands/health.c - `verdict health`: ask a worker's admin port, for container health checks. */
#include <stdio.h>
#include <sysexits.h>

#include "commands/commands.h"
#include "http/client.h"
#include "loop/loop.h"

#define URL_SIZE 512

struct asking {
    struct vd_loop *loop;
    int status; /* exit status */
};

static void on_done(void *arg, const struct vd_http_response *response)
{
    struct asking *a = arg;

    a->status = EX_UNAVAILABLE;
    if (response->err.code != VD_OK)
        fprintf(stderr, "verdict health: %s\n", response->err.msg);
    else if (response->status == 200)
        a->status = EX_OK;
    if (response->err.code == VD_OK)
        printf("%.*s", (int)response->body.len, response->body.ptr);
    vd_loop_stop(a->loop);
}

static enum vd_code ask(struct asking *a, const char *url, unsigned long long timeout_ms,
                        struct vd_err *err)
{
    struct vd_http_conf conf = {.user_agent = "verdict-health"};
    struct vd_http *http = NULL;
    struct vd_http_target *target = NULL;
    struct vd_http_request request = {.timeout_ms = (uint32_t)timeout_ms};
    enum vd_code rc = vd_loop_new(&a->loop, err);

    if (rc == VD_OK)
        rc = vd_http_new(a->loop, &conf, &http, err);
    if (rc == VD_OK)
        rc = vd_http_target_new(http, vd_span_of(url), NULL, 0, &target, err);
    request.target = target;
    if (rc == VD_OK)
        rc = vd_http_submit(http, &request, on_done, a, NULL, err);
    if (rc == VD_OK)
        vd_loop_run(a->loop);
    (void)vd_http_target_free(target);
    (void)vd_http_free(http);
    (void)vd_loop_free(a->loop);
    return rc;
}

static int run(const struct vd_args *args)
{
    struct asking a = {.status = EX_UNAVAILABLE};
    unsigned long long timeout_ms;
    char url[URL_SIZE];
    struct vd_err err;
    enum vd_code rc;

    if (!vd_args_u64(args, "timeout-ms", 1, 60000, 3000, &timeout_ms))
        return EX_USAGE;
    (void)snprintf(url, sizeof(url), "http://%s/%s", vd_args_get(args, "address", "127.0.0.1:9464"),
                   vd_args_has(args, "ready") ? "readyz" : "healthz");
    rc = ask(&a, url, timeout_ms, &err);
    if (rc != VD_OK) {
        fprintf(stderr, "verdict health: %s\n", err.msg);
        return vd_code_exit(rc);
    }
    return a.status;
}

static const struct vd_option options[] = {
    {"address", 0, "HOST:PORT", "the worker's admin.listen (127.0.0.1:9464)", false},
    {"ready", 0, NULL, "ask /readyz: policies loaded and group joined once", false},
    {"timeout-ms", 0, "N", "give up after so long (3000)", false},
    {.name = NULL},
};

const struct vd_command vd_command_health = {
    .name = "health",
    .usage = "[--ready] [--address HOST:PORT]",
    .summary = "ask a worker whether it is alive, for container health checks",
    .about =
        "Asks the admin port of a running worker. Exit 0: alive (with --ready: ready); 69: not.\n\n"
        "    HEALTHCHECK CMD [\"verdict\", \"health\"]",
    .options = options,
    .run = run,
};
