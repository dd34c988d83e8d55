/* tests/fuzz/fuzz_policy.c - settings and policy files: whatever loads decides inside its own bounds, whatever does not says where. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "policy/policy.h"
#include "reason/decide.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets its string buffer (under 100 bytes) when it meets a syntax error behind a string. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so\n";
}

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* A loaded policy meets an event and a model that proposes its first action: the outcome is judged or a person's. */
static void decide(const struct vd_policy *policy)
{
    static const char *const event_text =
        "{\"id\":\"1\",\"type\":\"x\",\"data\":{\"id\":7,\"limit\":5,\"list\":[\"a\",\"b\"]}}";
    cJSON *event = NULL, *answers = cJSON_CreateArray(), *answer = cJSON_CreateObject();
    struct vd_decide_input input = {.policy = policy};
    struct vd_decide d;

    must(vd_json_parse(vd_span_of(event_text), &event, NULL) == VD_OK);
    must(vd_json_put(answer, "action", vd_json_new_string(vd_span_of(policy->actions[0].name))));
    must(vd_json_put(answer, "confidence", vd_json_new_double(0.5)) &&
         vd_json_append(answers, answer));
    input.event = event;
    input.answers = answers;
    if (vd_decide(&input, &d, NULL) == VD_OK && d.reason != NULL && d.failed_stage == NULL) {
        const struct vd_outcome *o = vd_reason_outcome(d.reason);
        struct vd_buf record;

        vd_buf_init(&record, 8u << 20);
        must(o->status == VD_ESCALATED || (o->action != NULL && o->params != NULL));
        must(vd_reason_record(d.reason, &record) == VD_OK &&
             vd_json_check(vd_buf_span(&record), NULL) == VD_OK);
        vd_buf_free(&record);
    }
    vd_decide_fini(&d);
    vd_json_free(event);
    vd_json_free(answers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = vd_alloc(size); /* so that the sanitizer sees a read behind its end */
    struct vd_policy *policy = NULL;
    struct vd_diags diags;
    struct vd_buf text;
    enum vd_code rc;

    if (exact == NULL)
        return 0;
    memcpy(exact, data, size);
    vd_diags_init(&diags);
    vd_buf_init(&text, 4u << 20);
    rc = vd_policy_parse((struct vd_span){exact, size}, "fuzz.cfg", NULL, &diags, &policy, NULL);
    must((rc == VD_OK) == (policy != NULL));
    must((rc == VD_E_CONFIG) == (diags.errors > 0));
    must(vd_diags_write(&diags, &text) == VD_OK);
    if (policy != NULL)
        decide(policy);
    vd_policy_free(policy);
    vd_buf_free(&text);
    vd_diags_fini(&diags);
    vd_free(exact);
    return 0;
}
