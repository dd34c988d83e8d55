/* commands/sim_behaviour.c - see sim_behaviour.h. */
#include "commands/sim_behaviour.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define MAX_RULES      256
#define MAX_MARKER     128
#define LATENCY_MAX_MS 3600000.0

enum law { LAW_FIXED, LAW_UNIFORM, LAW_LOGNORMAL };

struct latency {
    enum law law;
    double a, b; /* ms; ms and ms; median ms and sigma */
};

struct vd_sim_behaviour {
    cJSON *now;  /* the members as they were given */
    cJSON *made; /* answers of chance, by name of the error */
    struct latency latency;
    struct vd_prng prng;
    size_t next[MAX_RULES]; /* answer of each rule */
};

/* -- reading --------------------------------------------------------------------------------------------------------------- */

static bool parse_latency(struct vd_span s, struct latency *ret)
{
    struct latency l = {LAW_FIXED, 0, 0};
    size_t colon;

    if (vd_span_starts(s, VD_LIT("uniform:")))
        l.law = LAW_UNIFORM;
    else if (vd_span_starts(s, VD_LIT("lognormal:")))
        l.law = LAW_LOGNORMAL;
    if (l.law != LAW_FIXED)
        s = vd_span_sub(s, vd_span_find(s, ':') + 1, s.len);
    colon = vd_span_find(s, ':');
    if (!vd_parse_double(vd_span_sub(s, 0, colon), &l.a) || l.a < 0 || l.a > LATENCY_MAX_MS)
        return false;
    if (l.law == LAW_FIXED ? colon != s.len
                           : !vd_parse_double(vd_span_sub(s, colon + 1, s.len), &l.b) || l.b < 0 ||
                                 l.b > LATENCY_MAX_MS)
        return false;
    *ret = l;
    return true;
}

static bool latency_of(const cJSON *node, struct latency *ret)
{
    double v;

    if (node == NULL)
        return false;
    if (vd_json_kind(node) == VD_JSON_STRING)
        return parse_latency(vd_json_string(node), ret);
    if (!vd_json_double(node, &v) || v < 0 || v > LATENCY_MAX_MS)
        return false;
    *ret = (struct latency){LAW_FIXED, v, 0};
    return true;
}

static bool is_error_name(const char *name)
{
    static const char *const names[] = {"reset", "hang", "truncate", "garbage"};
    uint64_t status;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return vd_parse_u64(vd_span_of(name), 599, &status) && status >= 300;
}

static const char *check_errors(const cJSON *errors)
{
    const cJSON *error;
    double share, sum = 0;

    if (!cJSON_IsObject(errors))
        return "errors must be an object of shares by status, or reset, hang, truncate, garbage";
    cJSON_ArrayForEach(error, errors)
    {
        if (!is_error_name(error->string) || !vd_json_double(error, &share) || share < 0)
            return "errors: names are 300 to 599, reset, hang, truncate, garbage; values are "
                   "shares from 0 to 1";
        sum += share;
    }
    return sum <= 1.0 + 1e-9 ? NULL : "errors: the shares are more than 1 together";
}

static const char *check_rules(const cJSON *rules)
{
    const cJSON *rule;

    if (!cJSON_IsArray(rules) || cJSON_GetArraySize(rules) > MAX_RULES)
        return "rules must be a list";
    cJSON_ArrayForEach(rule, rules)
    {
        const cJSON *answers = vd_json_get(rule, "answers");

        if (!cJSON_IsObject(rule) || answers == NULL || !cJSON_IsArray(answers) ||
            answers->child == NULL)
            return "rules: each needs answers, a list of at least one";
    }
    return NULL;
}

/* NULL: fine. */
static const char *check_member(const cJSON *member)
{
    static const char *const flags[] = {"obey", "use_tools"};
    const char *name = member->string;
    struct latency latency;

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (strcmp(name, flags[i]) == 0)
            return vd_json_kind(member) == VD_JSON_BOOL ? NULL
                                                        : "obey and use_tools are true or false";
    if (strcmp(name, "latency") == 0)
        return latency_of(member, &latency)
                   ? NULL
                   : "latency is 200, \"uniform:50:400\" or \"lognormal:1500:0.7\", in ms";
    if (strcmp(name, "errors") == 0)
        return check_errors(member);
    if (strcmp(name, "rules") == 0)
        return check_rules(member);
    if (strcmp(name, "count_by") == 0)
        return vd_json_kind(member) == VD_JSON_STRING ? NULL : "count_by is text";
    if (strcmp(name, "seed") == 0 || strcmp(name, "retry_after") == 0)
        return vd_json_kind(member) == VD_JSON_INT ? NULL
                                                   : "seed and retry_after are whole numbers";
    return "unknown member; known are latency, seed, errors, retry_after, obey, use_tools, "
           "count_by, rules";
}

/* The answers that chance gives, made once. */
static bool make_error_answers(struct vd_sim_behaviour *b)
{
    const cJSON *errors = vd_json_get(b->now, "errors"), *error;
    const cJSON *retry_after = vd_json_get(b->now, "retry_after");

    b->made = vd_json_free(b->made);
    b->made = cJSON_CreateObject();
    if (b->made == NULL)
        return false;
    if (errors == NULL)
        return true;
    cJSON_ArrayForEach(error, errors)
    {
        cJSON *answer = cJSON_CreateObject(), *headers;
        uint64_t status;
        int64_t seconds;
        char text[24];

        if (!vd_json_put(b->made, error->string, answer))
            return false;
        if (!vd_parse_u64(vd_span_of(error->string), 599, &status)) {
            (void)vd_json_put(answer, error->string, cJSON_CreateTrue());
            continue;
        }
        (void)vd_json_put(answer, "status", vd_json_new_int((int64_t)status));
        if (retry_after == NULL || !vd_json_int(retry_after, &seconds) ||
            (status != 429 && status != 503))
            continue;
        (void)snprintf(text, sizeof(text), "%lld", (long long)seconds);
        headers = cJSON_CreateObject();
        if (vd_json_put(answer, "headers", headers))
            (void)vd_json_put(headers, "retry-after", vd_json_new_string(vd_span_of(text)));
    }
    return true;
}

struct vd_sim_behaviour *vd_sim_behaviour_new(void)
{
    struct vd_sim_behaviour *b = vd_alloc(sizeof(*b));

    if (b == NULL)
        return NULL;
    b->now = cJSON_CreateObject();
    vd_prng_init(&b->prng, 1);
    if (b->now == NULL || !make_error_answers(b))
        return vd_sim_behaviour_free(b);
    return b;
}

void *vd_sim_behaviour_free(struct vd_sim_behaviour *b)
{
    if (b == NULL)
        return NULL;
    (void)vd_json_free(b->now);
    (void)vd_json_free(b->made);
    return vd_free(b);
}

enum vd_code vd_sim_behaviour_change(struct vd_sim_behaviour *b, const cJSON *change,
                                     struct vd_err *err)
{
    const cJSON *member, *seed;
    int64_t n;

    if (change == NULL || !cJSON_IsObject(change))
        return vd_err_set(err, VD_E_INPUT, false, "behaviour must be a JSON object");
    cJSON_ArrayForEach(member, change)
    {
        const char *wrong = check_member(member);

        if (wrong != NULL)
            return vd_err_set(err, VD_E_INPUT, false, "behaviour: %s", wrong);
    }
    cJSON_ArrayForEach(member, change)
    {
        cJSON *copy = vd_json_copy(member);

        cJSON_DeleteItemFromObjectCaseSensitive(b->now, member->string);
        if (!vd_json_put(b->now, member->string, copy))
            return vd_err_nomem(err, "behaviour");
    }
    (void)latency_of(vd_json_get(b->now, "latency"), &b->latency);
    seed = vd_json_get(change, "seed");
    if (seed != NULL && vd_json_int(seed, &n))
        vd_prng_init(&b->prng, (uint64_t)n);
    if (vd_json_get(change, "rules") != NULL)
        memset(b->next, 0, sizeof(b->next));
    return make_error_answers(b) ? VD_OK : vd_err_nomem(err, "behaviour");
}

/* -- asking ------------------------------------------------------------------------------------------------------------------ */

static bool contains(struct vd_span text, struct vd_span part)
{
    return part.len == 0 ||
           (text.len >= part.len && memmem(text.ptr, text.len, part.ptr, part.len) != NULL);
}

static const cJSON *from_rules(struct vd_sim_behaviour *b, struct vd_span text)
{
    const cJSON *rules = vd_json_get(b->now, "rules"), *rule;
    size_t i = 0;

    if (rules == NULL)
        return NULL;
    cJSON_ArrayForEach(rule, rules)
    {
        const cJSON *answers = vd_json_get(rule, "answers"), *cycle = vd_json_get(rule, "cycle");
        size_t count = (size_t)cJSON_GetArraySize(answers), at = b->next[i];
        bool again = false;

        if (!contains(text, vd_json_get_string(rule, "match"))) {
            i++;
            continue;
        }
        if (cycle != NULL)
            (void)vd_json_bool(cycle, &again);
        b->next[i]++;
        at = again ? at % count : at < count ? at : count - 1;
        return cJSON_GetArrayItem(answers, (int)at);
    }
    return NULL;
}

const cJSON *vd_sim_behaviour_answer(struct vd_sim_behaviour *b, struct vd_span text)
{
    const cJSON *answer = from_rules(b, text), *errors = vd_json_get(b->now, "errors"), *error;
    double chance, share;

    if (answer != NULL || errors == NULL)
        return answer;
    chance = vd_prng_unit(&b->prng);
    cJSON_ArrayForEach(error, errors)
    {
        if (vd_json_double(error, &share) && chance < share)
            return vd_json_get(b->made, error->string);
        chance -= share;
    }
    return NULL;
}

int64_t vd_sim_behaviour_latency_us(struct vd_sim_behaviour *b, const cJSON *answer)
{
    struct latency l = b->latency;
    double ms = 0;

    (void)latency_of(vd_json_get(answer, "latency"), &l);
    switch (l.law) {
    case LAW_FIXED:
        ms = l.a;
        break;
    case LAW_UNIFORM:
        ms = l.a + (l.b - l.a) * vd_prng_unit(&b->prng);
        break;
    case LAW_LOGNORMAL:
        ms = l.a * exp(l.b * vd_prng_normal(&b->prng));
        break;
    }
    return ms <= 0 ? 0 : (int64_t)((ms < LATENCY_MAX_MS ? ms : LATENCY_MAX_MS) * 1000);
}

static bool flag(const struct vd_sim_behaviour *b, const char *name)
{
    const cJSON *node = vd_json_get(b->now, name);
    bool on = false;

    return node != NULL && vd_json_bool(node, &on) && on;
}

bool vd_sim_behaviour_obeys(const struct vd_sim_behaviour *b)
{
    return flag(b, "obey");
}

bool vd_sim_behaviour_uses_tools(const struct vd_sim_behaviour *b)
{
    return flag(b, "use_tools");
}

struct vd_span vd_sim_behaviour_marker(const struct vd_sim_behaviour *b, struct vd_span text)
{
    struct vd_span prefix = vd_json_get_string(b->now, "count_by");
    const char *at = prefix.len == 0 || text.len < prefix.len
                         ? NULL
                         : memmem(text.ptr, text.len, prefix.ptr, prefix.len);
    size_t from, len = 0;

    if (at == NULL)
        return (struct vd_span){0};
    from = (size_t)(at - text.ptr) + prefix.len;
    while (from + len < text.len && len < MAX_MARKER &&
           strchr("\"' \n\r\t,;{}[]<>\\", text.ptr[from + len]) == NULL)
        len++;
    return vd_span_sub(text, from, len);
}
