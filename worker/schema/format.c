/* schema/format.c - the table of formats, and the small ones; see format.h. */
#include "schema/format.h"

#include "schema/regex.h"

struct vd_format {
    const char *name;
    const char *about;
    bool (*check)(struct vd_span text);
};

static const struct vd_format formats[] = {
    {"date-time", "a date and time as in 2026-11-23T08:30:00Z", vd_is_date_time},
    {"date", "a date as in 2026-11-23", vd_is_date},
    {"time", "a time with offset as in 08:30:00Z", vd_is_time},
    {"duration", "a duration as in P3DT4H", vd_is_duration},
    {"email", "an email address", vd_is_email},
    {"idn-email", "an email address", vd_is_idn_email},
    {"hostname", "a host name", vd_is_hostname},
    {"idn-hostname", "a host name", vd_is_idn_hostname},
    {"ipv4", "an IPv4 address", vd_is_ipv4},
    {"ipv6", "an IPv6 address", vd_is_ipv6},
    {"uri", "a URI", vd_is_uri},
    {"uri-reference", "a URI or a relative reference", vd_is_uri_reference},
    {"iri", "an IRI", vd_is_iri},
    {"iri-reference", "an IRI or a relative reference", vd_is_iri_reference},
    {"uri-template", "a URI template", vd_is_uri_template},
    {"uuid", "a UUID", vd_is_uuid},
    {"json-pointer", "a JSON Pointer", vd_is_json_pointer},
    {"relative-json-pointer", "a relative JSON Pointer", vd_is_relative_json_pointer},
    {"regex", "a regular expression", vd_is_regex},
};

const struct vd_format *vd_format_find(struct vd_span name)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (vd_span_eq_c(name, formats[i].name))
            return &formats[i];
    return NULL;
}

bool vd_format_check(const struct vd_format *format, struct vd_span text)
{
    return format->check(text);
}

const char *vd_format_about(const struct vd_format *format)
{
    return format->about;
}

static bool hex_digit(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

bool vd_is_uuid(struct vd_span text)
{
    if (text.len != 36)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? text.ptr[i] != '-' : !hex_digit(text.ptr[i]))
            return false;
    }
    return true;
}

bool vd_is_json_pointer(struct vd_span text)
{
    if (text.len > 0 && text.ptr[0] != '/')
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '~' &&
            (i + 1 == text.len || (text.ptr[i + 1] != '0' && text.ptr[i + 1] != '1')))
            return false;
    return true;
}

bool vd_is_relative_json_pointer(struct vd_span text)
{
    size_t n = 0;

    while (n < text.len && text.ptr[n] >= '0' && text.ptr[n] <= '9')
        n++;
    if (n == 0 || (n > 1 && text.ptr[0] == '0'))
        return false;
    text = vd_span_sub(text, n, text.len);
    return vd_span_eq_c(text, "#") || vd_is_json_pointer(text);
}

bool vd_is_regex(struct vd_span text)
{
    struct vd_regex *regex = NULL;
    bool ok = vd_regex_compile(text, &regex, NULL) == VD_OK;

    (void)vd_regex_free(regex);
    return ok;
}
