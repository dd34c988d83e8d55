/* policy/tool_host.c - see tools.h: the host of an HTTP tool, in its one spelling. */
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "base/limits.h"
#include "policy/tools.h"

#define HINT "\"api.example.com\", \"api.example.com:8443\", \"10.0.0.7\" or \"[2001:db8::7]:8443\""

static enum vd_code refuse(struct vd_err *err, const char *what)
{
    return vd_err_set(err, VD_E_CONFIG, false, "%s; write " HINT, what);
}

/* Would a resolver or libcurl take the last label for a number, and so the name for an address? */
static bool is_numeric(const char *name)
{
    const char *dot = strrchr(name, '.');
    const char *last = dot != NULL ? dot + 1 : name;

    return isdigit((unsigned char)*last) != 0 &&
           last[strspn(last, "0123456789abcdefxABCDEFX")] == '\0';
}

static enum vd_code check_name(const char *name, struct vd_err *err)
{
    struct in_addr v4;
    size_t n = strlen(name);

    if (n == 0 || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-._")] != '\0')
        return refuse(err, "a host is letters, digits, \"-\" and \".\"");
    if (name[0] == '.' || name[0] == '-' || name[n - 1] == '.' || name[n - 1] == '-' ||
        strstr(name, "..") != NULL)
        return refuse(err, "a host neither starts nor ends with \".\" or \"-\"");
    if (is_numeric(name) && inet_pton(AF_INET, name, &v4) != 1)
        return refuse(err, "an IPv4 address has four decimal numbers");
    return VD_OK;
}

static enum vd_code check_v6(struct vd_tool_host *host, struct vd_err *err)
{
    char inside[INET6_ADDRSTRLEN + 1] = "";
    struct in6_addr v6;
    size_t n = strlen(host->name);

    if (n < 4 || n - 2 >= sizeof(inside))
        return refuse(err, "no IPv6 address");
    memcpy(inside, host->name + 1, n - 2);
    if (inet_pton(AF_INET6, inside, &v6) != 1)
        return refuse(err, "no IPv6 address");
    if (IN6_IS_ADDR_V4MAPPED(&v6) || IN6_IS_ADDR_V4COMPAT(&v6))
        return refuse(err, "an IPv4 address inside an IPv6 address");
    if (inet_ntop(AF_INET6, &v6, inside, sizeof(inside)) == NULL)
        return refuse(err, "no IPv6 address");
    n = strlen(inside);
    memcpy(host->name + 1, inside, n);
    memcpy(host->name + 1 + n, "]", 2);
    return VD_OK;
}

enum vd_code vd_tool_host_parse(struct vd_span text, uint16_t default_port,
                                struct vd_tool_host *ret, struct vd_err *err)
{
    struct vd_tool_host host = {.port = default_port};
    bool v6 = text.len > 0 && text.ptr[0] == '[';
    size_t end = v6 ? vd_span_find(text, ']') + 1 : vd_span_find(text, ':');
    struct vd_span port = vd_span_sub(text, end, text.len);
    uint64_t number;
    enum vd_code rc;

    if (end > text.len)
        return refuse(err, "an IPv6 address without its \"]\"");
    if (end > VD_TOOL_HOST_MAX_BYTES)
        return refuse(err, "no host has so long a name");
    for (size_t i = 0; i < end; i++)
        host.name[i] = (char)tolower((unsigned char)text.ptr[i]);
    if (port.len > 0) {
        if (port.ptr[0] != ':' ||
            !vd_parse_u64(vd_span_sub(port, 1, port.len), UINT16_MAX, &number) || number == 0)
            return refuse(err, "a port is a number from 1 to 65535");
        host.port = (uint16_t)number;
    }
    rc = v6 ? check_v6(&host, err) : check_name(host.name, err);
    if (rc == VD_OK)
        *ret = host;
    return rc;
}
