/* tests/unit/unit.h - cmocka with its prerequisites, and the few words that every test uses. */
#ifndef VD_TESTS_UNIT_H
#define VD_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/span.h"

#define assert_span_equal(span, text)                                                              \
    do {                                                                                           \
        struct vd_span span_ = (span);                                                             \
        assert_int_equal(span_.len, strlen(text));                                                 \
        if (span_.len > 0)                                                                         \
            assert_memory_equal(span_.ptr, (text), span_.len);                                     \
    } while (0)

#endif
