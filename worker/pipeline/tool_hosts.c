/* pipeline/tool_hosts.c - see tool_hosts.h. */
#include "pipeline/tool_hosts.h"

#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "http/address.h"
#include "loop/loop.h"
#include "model/key.h"

struct host {
    struct vd_tool_allowed allowed;
    unsigned addresses;
    struct vd_model_key *token;
    char *token_header; /* NULL: authorization */
    struct vd_http *http;
};

struct vd_tool_hosts {
    struct vd_loop *loop;
    size_t count;
    struct host items[];
};

static const struct {
    const char *word;
    unsigned bit;
    enum vd_address_kind kind;
} kinds[] = {
    {"loopback", VD_TOOL_ADDRESS_LOOPBACK, VD_ADDRESS_LOOPBACK},
    {"private", VD_TOOL_ADDRESS_PRIVATE, VD_ADDRESS_PRIVATE},
    {"link-local", VD_TOOL_ADDRESS_LINK_LOCAL, VD_ADDRESS_LINK_LOCAL},
    {"metadata", VD_TOOL_ADDRESS_METADATA, VD_ADDRESS_METADATA},
};

unsigned vd_tool_address_bit(struct vd_span word)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (vd_span_eq_c(word, kinds[i].word))
            return kinds[i].bit;
    return 0;
}

/* Of the address that is about to be connected to, whatever the name was. */
static bool may_connect(void *arg, struct vd_span name, const struct sockaddr *address)
{
    const struct host *host = arg;
    enum vd_address_kind kind = vd_address_kind(address);

    (void)name;
    if (kind == VD_ADDRESS_PUBLIC)
        return true;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (kinds[i].kind == kind)
            return (host->addresses & kinds[i].bit) != 0;
    return false;
}

static enum vd_code make_host(struct vd_tool_hosts *hosts, const struct vd_tool_host_conf *conf,
                              struct host *host, struct vd_err *err)
{
    struct vd_http_conf http = {.ca_file = conf->ca_file, .allow = may_connect, .allow_arg = host};
    enum vd_code rc;

    host->allowed = conf->allowed;
    host->addresses = conf->addresses;
    if (conf->token_header != NULL && strcasecmp(conf->token_header, "authorization") != 0) {
        host->token_header = vd_strdup(conf->token_header);
        if (host->token_header == NULL)
            return vd_err_nomem(err, "tool host");
    }
    rc = vd_model_key_new(conf->token_file, NULL, &host->token, err);
    return rc == VD_OK ? vd_http_new(hosts->loop, &http, &host->http, err) : rc;
}

enum vd_code vd_tool_hosts_new(struct vd_loop *loop, const struct vd_tool_host_conf *confs,
                               size_t count, struct vd_tool_hosts **ret, struct vd_err *err)
{
    struct vd_tool_hosts *hosts = vd_alloc(sizeof(*hosts) + count * sizeof(struct host));
    enum vd_code rc = VD_OK;

    if (hosts == NULL)
        return vd_err_nomem(err, "tool hosts");
    hosts->loop = loop;
    for (; hosts->count < count && rc == VD_OK; hosts->count++)
        rc = make_host(hosts, &confs[hosts->count], &hosts->items[hosts->count], err);
    if (rc != VD_OK) {
        (void)vd_tool_hosts_free(hosts);
        return rc;
    }
    *ret = hosts;
    return VD_OK;
}

void *vd_tool_hosts_free(struct vd_tool_hosts *hosts)
{
    if (hosts == NULL)
        return NULL;
    for (size_t i = 0; i < hosts->count; i++) {
        struct host *host = &hosts->items[i];

        (void)vd_http_free(host->http);
        (void)vd_model_key_free(host->token);
        (void)vd_free(host->token_header);
    }
    return vd_free(hosts);
}

/* -- requests ---------------------------------------------------------------------------------------------------------- */

static enum vd_code make_target(struct vd_tool_hosts *hosts, struct host *host, struct vd_span url,
                                struct vd_http_target **ret, struct vd_err *err)
{
    struct vd_http_header headers[2] = {
        {VD_LIT("accept"), VD_LIT("application/json, text/plain;q=0.5")}};
    struct vd_span token;
    struct vd_buf value;
    size_t count = 1;
    enum vd_code rc;

    (void)vd_model_key_refresh(host->token, vd_loop_now_ms(hosts->loop));
    if (vd_model_key_missing(host->token) != NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "tools.hosts, %s: %s", host->allowed.host.name,
                          vd_model_key_missing(host->token));
    token = vd_model_key_get(host->token);
    vd_buf_init(&value, VD_MODEL_KEY_MAX_BYTES + 64);
    if (host->token_header == NULL)
        (void)vd_buf_add_c(&value, "Bearer ");
    (void)vd_buf_add(&value, token);
    if (token.len > 0)
        headers[count++] = (struct vd_http_header){
            host->token_header != NULL ? vd_span_of(host->token_header) : VD_LIT("authorization"),
            vd_buf_span(&value)};
    rc = value.failed != VD_OK ? vd_err_nomem(err, "token")
                               : vd_http_target_new(host->http, url, headers, count, ret, err);
    if (value.ptr != NULL)
        explicit_bzero(value.ptr, value.len);
    vd_buf_free(&value);
    return rc;
}

enum vd_code vd_tool_hosts_get(struct vd_tool_hosts *hosts, const struct vd_tool *tool,
                               struct vd_span url, uint32_t timeout_ms, vd_http_done_fn *done,
                               void *arg, struct vd_http_call **ret_call, struct vd_err *err)
{
    struct vd_http_request request = {.timeout_ms = timeout_ms, .body_max_bytes = tool->max_bytes};
    struct host *host = NULL;
    enum vd_code rc;

    for (size_t i = 0; hosts != NULL && i < hosts->count && host == NULL; i++)
        if (vd_tool_host_fits(&hosts->items[i].allowed, tool))
            host = &hosts->items[i];
    if (host == NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "the settings do not allow %s port %u",
                          tool->host.name, tool->host.port);
    rc = make_target(hosts, host, url, &request.target, err);
    if (rc == VD_OK)
        rc = vd_http_submit(host->http, &request, done, arg, ret_call, err);
    (void)vd_http_target_free(request.target);
    return rc;
}
