/* tests/fuzz/fuzz_json.c - the strict reader: what it accepts, cJSON can read, and it is written and read again as the same. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "json/json.h"
#include "json/locate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void write_and_read(const cJSON *tree, enum vd_code (*write)(struct vd_buf *, const cJSON *))
{
    struct vd_buf text;
    cJSON *again = NULL;
    cJSON *copy = vd_json_copy(tree);

    vd_buf_init(&text, 64u << 20);
    must(write(&text, tree) == VD_OK);
    must(vd_json_parse(vd_buf_span(&text), &again, NULL) == VD_OK);
    must(vd_json_equal(tree, again) && vd_json_equal(again, copy));
    must(vd_json_hash(tree) == vd_json_hash(again));
    vd_json_free(again);
    vd_json_free(copy);
    vd_buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* An exact copy, so that the sanitizer sees a read behind its end. */
    char *exact = vd_alloc(size);
    struct vd_span text = {exact, size};
    struct vd_err err = {.msg = ""};
    cJSON *tree = NULL;
    bool strict;

    memcpy(exact, data, size);
    strict = vd_json_check(text, &err) == VD_OK;
    must(strict || strncmp(err.msg, "line ", 5) == 0);
    must(!strict || vd_json_check_rfc8259(text, NULL) == VD_OK);
    if (vd_json_parse(text, &tree, &err) == VD_OK) {
        must(strict);
        write_and_read(tree, vd_json_write);
        write_and_read(tree, vd_json_write_canonical);
        write_and_read(tree, vd_json_write_pretty);
        (void)vd_json_locate(text, VD_LIT("/a/0/b"));
    } else {
        /* The only JSON that makes no tree has U+0000 in a key. */
        must(!strict || strstr(err.msg, "U+0000") != NULL);
    }
    vd_json_free(tree);
    exact = vd_free(exact);
    return 0;
}
