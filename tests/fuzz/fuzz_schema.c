/* tests/fuzz/fuzz_schema.c - any schema against any instance: it compiles or says why not, and ends within its budget.
 *
 * The input is two JSON texts with a newline between: schema and instance. Its first byte chooses draft and formats.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "schema/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_errors(const struct vd_schema_result *result)
{
    for (size_t i = 0; i < result->error_count; i++) {
        const struct vd_schema_error *e = &result->errors[i];

        must(e->instance_path[0] == '\0' || e->instance_path[0] == '/');
        must(e->keyword[0] != '\0' && e->reason[0] != '\0');
    }
}

static void validate(const struct vd_schema *schema, const cJSON *instance)
{
    struct vd_schema_result fast;
    struct vd_schema_result full;
    struct vd_arena arena;
    enum vd_code rc;

    vd_arena_init(&arena, 16u << 20);
    rc = vd_schema_validate(schema, instance, 0, &arena, &fast, NULL);
    must(rc == VD_OK || rc == VD_E_LIMIT || rc == VD_E_NOMEM);
    if (rc == VD_OK && vd_schema_validate(schema, instance, 5, &arena, &full, NULL) == VD_OK) {
        must(fast.valid == full.valid);
        must(full.valid == (full.error_count == 0));
        check_errors(&full);
    }
    vd_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vd_schema_options options = {.draft = VD_SCHEMA_2020_12};
    struct vd_span text = {(const char *)data, size};
    struct vd_schema *schema = NULL;
    struct vd_err err = {.msg = ""};
    cJSON *source = NULL;
    cJSON *instance = NULL;
    size_t cut;
    enum vd_code rc;

    if (size < 2)
        return 0;
    options.draft = (data[0] & 1) != 0 ? VD_SCHEMA_DRAFT_07 : VD_SCHEMA_2020_12;
    options.assert_format = (data[0] & 2) != 0;
    text = vd_span_sub(text, 1, size);
    cut = vd_span_find(text, '\n');
    if (vd_json_parse(vd_span_sub(text, 0, cut), &source, NULL) != VD_OK)
        return 0;
    if (vd_json_parse(vd_span_sub(text, cut + 1, text.len), &instance, NULL) == VD_OK) {
        rc = vd_schema_compile(source, &options, &schema, &err);
        must(rc == VD_OK || err.msg[0] != '\0');
        if (rc == VD_OK) {
            validate(schema, instance);
            validate(schema, source); /* what it is itself is as good an instance */
        }
        vd_schema_free(schema);
    }
    vd_json_free(source);
    vd_json_free(instance);
    return 0;
}
