/* kafka/sabotage.c - see sabotage.h. */
#include "kafka/sabotage.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
} switches[] = {
    {"offsets-outside", offsetof(struct vd_sabotage, offsets_outside)},
    {"drop-map", offsetof(struct vd_sabotage, drop_map)},
    {"ignore-epochs", offsetof(struct vd_sabotage, ignore_epochs)},
    {"refetch-group", offsetof(struct vd_sabotage, refetch_group)},
    {"republish-unknown", offsetof(struct vd_sabotage, republish_unknown)},
    {"gaps-unfinished", offsetof(struct vd_sabotage, gaps_unfinished)},
    {"forget-commit", offsetof(struct vd_sabotage, forget_commit)},
};

enum vd_code vd_sabotage_read(struct vd_sabotage *ret, struct vd_err *err)
{
    const char *wanted = getenv("VERDICT_TEST_SABOTAGE"), *test = getenv("VERDICT_TEST");
    struct vd_sabotage s = {0};
    bool found = false;
    size_t i;

    if (wanted != NULL && (test == NULL || strcmp(test, "1") != 0))
        return vd_err_set(err, VD_E_CONFIG, false,
                          "VERDICT_TEST_SABOTAGE is for tests of this program only; unset it");
    for (i = 0; wanted != NULL && i < sizeof(switches) / sizeof(switches[0]); i++) {
        if (strstr(wanted, switches[i].name) == NULL)
            continue;
        *(bool *)((char *)&s + switches[i].offset) = true;
        found = true;
    }
    if (wanted != NULL && !found)
        return vd_err_set(err, VD_E_CONFIG, false, "VERDICT_TEST_SABOTAGE: no such switch");
    *ret = s;
    return VD_OK;
}
