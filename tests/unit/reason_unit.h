/* tests/unit/reason_unit.h - what the tests of reasoning share. */
#ifndef VD_TESTS_REASON_UNIT_H
#define VD_TESTS_REASON_UNIT_H

#include "unit.h"

#include "json/json.h"
#include "reason/reason.h"

/* The audit record's part, read back; freed by the caller. */
static inline cJSON *record_of(const struct vd_reason *reason)
{
    cJSON *record = NULL;
    struct vd_buf text;

    vd_buf_init(&text, 1 << 20);
    assert_int_equal(vd_reason_record(reason, &text), VD_OK);
    assert_int_equal(vd_json_parse(vd_buf_span(&text), &record, NULL), VD_OK);
    vd_buf_free(&text);
    return record;
}

#endif
