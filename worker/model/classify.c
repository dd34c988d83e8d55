/* model/classify.c - what a response that is not 2xx means. The pure half of wire.h that deals with failure. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "model/wire.h"

#define CODE_MAX 64

/* By status; a word of the body (below) may say more. */
static const struct {
    int from, to;
    enum vd_model_outcome outcome;
} by_status[] = {
    {402, 402, VD_MODEL_QUOTA}, {408, 409, VD_MODEL_RETRY}, {413, 413, VD_MODEL_TOO_LARGE},
    {425, 425, VD_MODEL_RETRY}, {429, 429, VD_MODEL_RETRY}, {500, 599, VD_MODEL_RETRY},
};

/* error.code, error.type or error.details.error_code, whole words, of any provider. */
static const struct {
    const char *word;
    enum vd_model_outcome outcome;
} by_word[] = {
    {"insufficient_quota", VD_MODEL_QUOTA},
    {"credit_balance_exhausted", VD_MODEL_QUOTA},
    {"billing_hard_limit_reached", VD_MODEL_QUOTA},
    {"billing_not_active", VD_MODEL_QUOTA},
    {"spend_limit_reached", VD_MODEL_QUOTA},
    {"usage_limit_reached", VD_MODEL_QUOTA},
    {"enforced_spend_limit_reached", VD_MODEL_QUOTA},
    {"billing_error", VD_MODEL_QUOTA},
    {"context_length_exceeded", VD_MODEL_TOO_LARGE},
    {"string_above_max_length", VD_MODEL_TOO_LARGE},
    {"request_too_large", VD_MODEL_TOO_LARGE},
    {"exceed_context_size_error", VD_MODEL_TOO_LARGE}, /* llama.cpp */
    {"content_filter", VD_MODEL_CONTENT_FILTER},
    {"content_policy_violation", VD_MODEL_CONTENT_FILTER},
};

void vd_model_fail(struct vd_model_result *result, enum vd_model_outcome outcome, const char *why)
{
    bool again = outcome == VD_MODEL_RETRY || outcome == VD_MODEL_TIMEOUT;

    result->outcome = outcome;
    (void)vd_err_set(&result->err, outcome == VD_MODEL_TIMEOUT ? VD_E_TIMEOUT : VD_E_REMOTE, again,
                     "model: %s", why);
}

/* A provider's code goes into messages and logs: only what looks like one. */
static struct vd_span as_code(const cJSON *node)
{
    struct vd_span s = node != NULL && vd_json_kind(node) == VD_JSON_STRING ? vd_json_string(node)
                                                                            : (struct vd_span){0};

    if (s.len > CODE_MAX)
        return (struct vd_span){0};
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '_' && c != '-' && c != '.')
            return (struct vd_span){0};
    }
    return s;
}

static bool look_up(struct vd_span word, enum vd_model_outcome *ret)
{
    for (size_t i = 0; i < sizeof(by_word) / sizeof(by_word[0]); i++)
        if (vd_span_eq_c(word, by_word[i].word)) {
            *ret = by_word[i].outcome;
            return true;
        }
    return false;
}

void vd_model_classify(int status, struct vd_span body, struct vd_model_result *result)
{
    enum vd_model_outcome outcome = VD_MODEL_FATAL;
    struct vd_span words[3] = {{0}};
    struct vd_span shown = {0};
    cJSON *tree = NULL;
    char why[128];

    for (size_t i = 0; i < sizeof(by_status) / sizeof(by_status[0]); i++)
        if (status >= by_status[i].from && status <= by_status[i].to)
            outcome = by_status[i].outcome;
    if (vd_json_parse(body, &tree, NULL) == VD_OK) {
        const cJSON *error = vd_json_get(tree, "error");

        words[0] = as_code(vd_json_get(vd_json_get(error, "details"), "error_code"));
        words[1] = as_code(vd_json_get(error, "code"));
        words[2] = as_code(vd_json_get(error, "type"));
        for (size_t i = 3; i-- > 0;) {
            if (words[i].len > 0)
                shown = words[i];
            (void)look_up(words[i], &outcome); /* the most specific is looked at last */
        }
    }
    (void)snprintf(why, sizeof(why), "HTTP %d%s%.*s", status, shown.len > 0 ? " " : "",
                   (int)shown.len, shown.len > 0 ? shown.ptr : "");
    vd_model_fail(result, outcome, why);
    result->http_status = status;
    (void)vd_json_free(tree);
}

/* -- Retry-After ------------------------------------------------------------------------------------------------------- */

/* RFC 9110 IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT". The obsolete forms are not worth it. */
static bool parse_http_date(struct vd_span s, int64_t *ret_wall_ms)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    uint64_t day, year, hour, minute, second;
    unsigned month = 0;

    if (s.len != 29 || s.ptr[3] != ',' || s.ptr[19] != ':' || s.ptr[22] != ':' ||
        !vd_span_eq(vd_span_sub(s, 25, 4), VD_LIT(" GMT")))
        return false;
    for (unsigned i = 0; i < 12; i++)
        if (memcmp(months + (size_t)i * 3, s.ptr + 8, 3) == 0)
            month = i + 1;
    if (month == 0 || !vd_parse_u64(vd_span_sub(s, 5, 2), 31, &day) ||
        !vd_parse_u64(vd_span_sub(s, 12, 4), 9999, &year) ||
        !vd_parse_u64(vd_span_sub(s, 17, 2), 23, &hour) ||
        !vd_parse_u64(vd_span_sub(s, 20, 2), 59, &minute) ||
        !vd_parse_u64(vd_span_sub(s, 23, 2), 60, &second))
        return false;
    *ret_wall_ms = (vd_days_from_civil((int64_t)year, month, (unsigned)day) * 86400 +
                    (int64_t)(hour * 3600 + minute * 60 + second)) *
                   1000;
    return true;
}

int64_t vd_model_retry_after_ms(struct vd_span retry_after_ms, struct vd_span retry_after,
                                int64_t now_wall_ms)
{
    const double day_ms = 86400e3;
    double number;
    int64_t when;

    if (vd_parse_double(retry_after_ms, &number) && number >= 0 && number <= day_ms)
        return (int64_t)number;
    if (vd_parse_double(retry_after, &number))
        return number >= 0 && number <= day_ms / 1000 ? (int64_t)(number * 1000) : -1;
    if (parse_http_date(retry_after, &when) && when - now_wall_ms <= (int64_t)day_ms)
        return when > now_wall_ms ? when - now_wall_ms : 0;
    return -1;
}
