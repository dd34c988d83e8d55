/* The fuzz target's corpus, replayed: what was found once is never lost again. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"

#include "../fuzz/fuzz_json.c"

#define FOLDER "tests/fuzz/corpus/json"

static void every_file_of_the_corpus_passes(void **state)
{
    DIR *folder = opendir(FOLDER); /* tests run in the project's folder */
    size_t count = 0;

    (void)state;
    assert_non_null(folder);
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char path[512];
        struct vd_buf text;

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", FOLDER, entry->d_name);
        vd_buf_init(&text, 1u << 20);
        assert_int_equal(vd_file_read(path, &text, NULL), VD_OK);
        assert_int_equal(LLVMFuzzerTestOneInput((const uint8_t *)text.ptr, text.len), 0);
        vd_buf_free(&text);
        count++;
    }
    (void)closedir(folder);
    assert_true(count >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_of_the_corpus_passes),
    };

    return cmocka_run_group_tests_name("json_corpus", tests, NULL, NULL);
}
