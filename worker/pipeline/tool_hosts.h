/* pipeline/tool_hosts.h - the hosts that HTTP tools may reach, as the operator's settings allow them.
 *
 * Why:      a policy names a URL, an event fills in its holes, and a model chooses among what is left; none of the three decides which
 *           machine is talked to. The address is looked at when the socket is opened, so that what a name resolves to, or resolves to the
 *           next time, makes no difference.
 * Thread:   loop thread.
 * Owns:     one HTTP client for each host: its connections, CA and secret are its own. No proxy, no redirect, GET only.
 * Invariants:
 *   I1 a socket is opened to a public address, or to one of a kind that the settings name for this host.
 */
#ifndef VD_PIPELINE_TOOL_HOSTS_H
#define VD_PIPELINE_TOOL_HOSTS_H

#include "http/client.h"
#include "policy/tools.h"

struct vd_loop;
struct vd_tool_hosts;

/* Kinds of addresses beside public ones; a bit each. */
#define VD_TOOL_ADDRESS_LOOPBACK   1u
#define VD_TOOL_ADDRESS_PRIVATE    2u
#define VD_TOOL_ADDRESS_LINK_LOCAL 4u
#define VD_TOOL_ADDRESS_METADATA   8u
/* The bit of "loopback", "private", "link-local" or "metadata"; 0: no such kind. */
unsigned vd_tool_address_bit(struct vd_span word);

struct vd_tool_host_conf {
    struct vd_tool_allowed allowed;
    unsigned addresses;     /* VD_TOOL_ADDRESS_* */
    const char *token_file; /* NULL: none; read again when it changes */
    const char
        *token_header; /* NULL: authorization, as "Bearer TOKEN"; another one has the token alone */
    const char *ca_file; /* NULL: the system's */
};

/* Copies conf. */
enum vd_code vd_tool_hosts_new(struct vd_loop *loop, const struct vd_tool_host_conf *hosts,
                               size_t count, struct vd_tool_hosts **ret,
                               struct vd_err *err) VD_MUST_CHECK;
/* Outstanding requests get their done callback inside this call. NULL-safe. */
void *vd_tool_hosts_free(struct vd_tool_hosts *hosts);

/* GET url, which is tool's with its holes filled in. As vd_http_submit(); VD_E_CONFIG when the host is not allowed or its token cannot be
 * read. hosts may be NULL: nothing is allowed. */
enum vd_code vd_tool_hosts_get(struct vd_tool_hosts *hosts, const struct vd_tool *tool,
                               struct vd_span url, uint32_t timeout_ms, vd_http_done_fn *done,
                               void *arg, struct vd_http_call **ret_call,
                               struct vd_err *err) VD_MUST_CHECK;

#endif
