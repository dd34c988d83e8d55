/* 100 typical rules of policies over one decision, with what cJSON takes to parse the decision's event beside it. Prints the times
 * and exits 1 when the rules are slower than the project promises (20 us) on this machine. */
#include <stdio.h>
#include <time.h>

#include "base/limits.h"
#include "cel/cel.h"

#define RULES       100
#define ROUNDS      1000
#define TAKES       15 /* the best of them counts: other work on the machine only ever adds */
#define PROMISED_US 20.0

static const char event_text[] =
    "{\"id\":\"evt_1NG8Du2eZvKYlo2CUI79vXWy\",\"object\":\"event\",\"api_version\":\"2022-11-15\","
    "\"created\":1686089970,\"type\":\"invoice.payment_failed\",\"livemode\":true,"
    "\"pending_webhooks\":1,\"request\":{\"id\":null,\"idempotency_key\":null},"
    "\"data\":{\"object\":{\"id\":\"in_1MtHbELkdIwHu7ixl4OzzPMv\",\"object\":\"invoice\","
    "\"account_country\":\"US\",\"account_name\":\"Stripe Docs\",\"amount_due\":4999,"
    "\"amount_paid\":0,\"amount_remaining\":4999,\"amount_shipping\":0,\"application\":null,"
    "\"attempt_count\":2,\"attempted\":true,\"auto_advance\":false,"
    "\"billing_reason\":\"subscription_cycle\",\"charge\":\"ch_3MtHbELkdIwHu7ix\","
    "\"collection_method\":\"charge_automatically\",\"created\":1680644467,\"currency\":\"usd\","
    "\"customer\":\"cus_NeZwdNtLEOXuvB\",\"customer_email\":\"jennyrosen@example.com\","
    "\"customer_name\":\"Jenny Rosen\",\"default_tax_rates\":[],\"description\":null,"
    "\"discount\":null,\"due_date\":1686694770,\"ending_balance\":0,\"lines\":{\"object\":\"list\","
    "\"data\":[{\"id\":\"il_1\",\"amount\":2999,\"currency\":\"usd\",\"quantity\":1,"
    "\"proration\":false,\"price\":{\"id\":\"price_1\",\"active\":true}},"
    "{\"id\":\"il_2\",\"amount\":1500,\"currency\":\"usd\",\"quantity\":3,\"proration\":false,"
    "\"price\":{\"id\":\"price_2\",\"active\":true}},"
    "{\"id\":\"il_3\",\"amount\":500,\"currency\":\"usd\",\"quantity\":1,\"proration\":true,"
    "\"price\":{\"id\":\"price_3\",\"active\":false}}],\"has_more\":false,\"total_count\":3},"
    "\"metadata\":{\"plan\":\"pro\",\"region\":\"eu\"},\"next_payment_attempt\":1686349170,"
    "\"paid\":false,\"period_end\":1680644467,\"period_start\":1680644467,\"status\":\"open\","
    "\"subscription\":\"sub_1MtHbE\",\"subtotal\":4999,\"tax\":null,\"total\":4999}}}";

static const char params_text[] =
    "{\"after_hours\":24,\"channel\":\"email\",\"discount_percent\":10,\"codes\":[\"A\",\"B\"],"
    "\"amount\":499}";

static const char sub_text[] =
    "{\"status\":\"past_due\",\"tier\":\"gold\",\"months\":14,\"open_disputes\":0,"
    "\"lifetime_value\":70986,\"country\":\"US\",\"email_ok\":true,\"tags\":[\"vip\",\"b2b\"]}";

/* Ten shapes; each is used ten times, as policies repeat them. */
static const char *const rules[] = {
    "event.data.object.attempt_count < 4",
    "params.after_hours >= 1 && params.after_hours <= 168",
    "event.data.object.currency in ['usd', 'eur', 'gbp']",
    "params.amount <= event.data.object.amount_due / 10",
    "event.data.object.status == 'open' && !event.data.object.paid",
    "sub.tier == 'gold' || sub.lifetime_value > 50000",
    "event.data.object.lines.data.exists(l, l.amount > 2000)",
    "size(params.codes) <= 3 && sub.open_disputes == 0",
    "params.channel == 'email' ? sub.email_ok : has(event.data.object.customer_phone)",
    "event.data.object.amount_due - params.amount >= 0 && params.discount_percent * 2 <= 30",
};

#define SHAPES (sizeof(rules) / sizeof(rules[0]))

struct work {
    struct vd_cel_program *programs[RULES];
    struct vd_cel_value values[3];
    struct vd_arena arena;
    uint64_t steps;
};

static double now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* All rules over the one decision, as the judge does it: no rule fails here, each is true. */
static bool judge(struct work *w, struct vd_err *err)
{
    struct vd_cel_eval_context context = {.values = w->values, .count = 3, .arena = &w->arena};

    vd_arena_reset(&w->arena);
    for (int i = 0; i < RULES; i++) {
        struct vd_cel_value v;

        if (vd_cel_eval(w->programs[i], &context, &v, err) != VD_OK)
            return false;
        if (v.kind != VD_CEL_BOOL || !v.u.b) {
            (void)vd_err_set(err, VD_E_BUG, false, "a rule is not true: %s",
                             rules[(size_t)i % SHAPES]);
            return false;
        }
    }
    w->steps = context.steps;
    return true;
}

static bool parse_cjson(struct work *w, struct vd_err *err)
{
    cJSON *tree = cJSON_ParseWithLengthOpts(event_text, sizeof(event_text), NULL, 1);

    (void)w;
    (void)err;
    cJSON_Delete(tree);
    return tree != NULL;
}

static bool compile_all(struct work *w, struct vd_err *err)
{
    struct vd_cel_env *env = vd_cel_env_new();
    bool ok = env != NULL && vd_cel_env_declare(env, "event", NULL, NULL, err) == VD_OK &&
              vd_cel_env_declare(env, "params", NULL, NULL, err) == VD_OK &&
              vd_cel_env_declare(env, "sub", NULL, NULL, err) == VD_OK;

    for (size_t i = 0; ok && i < RULES; i++) {
        w->programs[i] = vd_cel_program_free(w->programs[i]);
        ok = vd_cel_compile(env, vd_span_of(rules[i % SHAPES]), &w->programs[i], err) == VD_OK;
    }
    (void)vd_cel_env_free(env);
    return ok;
}

/* Microseconds of one call; below 0 when it fails. */
static double measure(bool (*call)(struct work *, struct vd_err *), struct work *w, int rounds,
                      struct vd_err *err)
{
    double best = -1;

    for (int take = 0; take < TAKES; take++) {
        double start = now_us();
        double each;

        for (int i = 0; i < rounds; i++)
            if (!call(w, err))
                return -1;
        each = (now_us() - start) / rounds;
        if (best < 0 || each < best)
            best = each;
    }
    return best;
}

int main(void)
{
    static const char *const texts[] = {event_text, params_text, sub_text};
    static struct work w;
    struct vd_err err = {.msg = ""};
    cJSON *trees[3] = {NULL};
    double compile_us = -1;
    double us = -1;

    vd_arena_init(&w.arena, VD_JOB_ARENA_MAX_BYTES);
    for (int i = 0; i < 3; i++) {
        if (vd_json_parse(vd_span_of(texts[i]), &trees[i], &err) != VD_OK)
            goto out;
        w.values[i] = vd_cel_from_json(trees[i]);
    }
    compile_us = measure(compile_all, &w, 10, &err);
    if (compile_us < 0)
        goto out;
    us = measure(judge, &w, ROUNDS, &err);
    if (us < 0)
        goto out;
    printf("cel: %d rules over one decision: %.2f us (promised: %.0f), %.0f steps; compiling them: "
           "%.0f us\n",
           RULES, us, PROMISED_US, (double)w.steps, compile_us);
    printf("json: cJSON alone parses its event of %zu bytes in %.2f us\n", sizeof(event_text) - 1,
           measure(parse_cjson, &w, ROUNDS, &err));
out:
    if (us < 0)
        printf("bench_rules: %s\n", err.msg);
    for (int i = 0; i < RULES; i++)
        (void)vd_cel_program_free(w.programs[i]);
    for (int i = 0; i < 3; i++)
        (void)vd_json_free(trees[i]);
    vd_arena_fini(&w.arena);
    return us >= 0 && us <= PROMISED_US ? 0 : 1;
}
