/* model/provider.c - see provider.h. */
#include "model/provider.h"

#include <string.h>

#include "model/ops.h"

#define PER_MILLION UINT64_C(1000000)

static const struct vd_model_ops *const all_ops[] = {
    &vd_model_openai,
    &vd_model_anthropic,
    &vd_model_scripted,
};

const struct vd_model_ops *vd_model_ops_find(const char *provider)
{
    for (size_t i = 0; i < sizeof(all_ops) / sizeof(all_ops[0]); i++)
        if (strcmp(all_ops[i]->name, provider) == 0)
            return all_ops[i];
    return NULL;
}

const char *vd_model_provider_names(void)
{
    return "openai, anthropic, scripted";
}

const char *vd_model_outcome_name(enum vd_model_outcome outcome)
{
    static const char *const names[VD_MODEL_OUTCOME_COUNT] = {
        [VD_MODEL_OK] = "ok",
        [VD_MODEL_RETRY] = "retry",
        [VD_MODEL_TIMEOUT] = "timeout",
        [VD_MODEL_QUOTA] = "quota",
        [VD_MODEL_FATAL] = "fatal",
        [VD_MODEL_TOO_LARGE] = "too_large",
        [VD_MODEL_REFUSED] = "refused",
        [VD_MODEL_CONTENT_FILTER] = "content_filter",
        [VD_MODEL_LENGTH] = "length",
        [VD_MODEL_MALFORMED] = "malformed",
        [VD_MODEL_UNAVAILABLE] = "unavailable",
        [VD_MODEL_CANCELED] = "canceled",
    };

    return names[outcome];
}

/* n tokens at price micro-USD a million, in micro-USD times a million; saturates. */
static uint64_t scaled(uint64_t n, uint64_t price)
{
    return price != 0 && n > UINT64_MAX / 4 / price ? UINT64_MAX / 4 : n * price;
}

bool vd_model_cost_microusd(const struct vd_model_prices *prices,
                            const struct vd_model_usage *usage, uint64_t *ret)
{
    uint64_t cached =
        usage->cached_tokens < usage->input_tokens ? usage->cached_tokens : usage->input_tokens;
    uint64_t cached_price = prices->cached_input != 0 ? prices->cached_input : prices->input;
    uint64_t total;

    if (prices->input == 0 && prices->output == 0)
        return false;
    total = scaled(usage->input_tokens - cached, prices->input) + scaled(cached, cached_price) +
            scaled(usage->output_tokens, prices->output);
    *ret = (total + PER_MILLION - 1) / PER_MILLION;
    return true;
}

uint64_t vd_model_estimate_tokens(size_t bytes)
{
    return ((uint64_t)bytes + 2) / 3;
}
