/* kafka/recovery.c - see recovery.h. */
#include "kafka/recovery.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void VD_PRINTF(2, 3) refuse(struct vd_recovery *ret, const char *fmt, ...)
{
    va_list args;

    ret->action = VD_RECOVERY_REFUSE;
    va_start(args, fmt);
    (void)vsnprintf(ret->why, sizeof(ret->why), fmt, args);
    va_end(args);
}

static void begin(struct vd_recovery *ret, int64_t base, uint32_t partitions)
{
    ret->action = VD_RECOVERY_BEGIN;
    ret->map.base = base;
    ret->map.partitions = partitions;
}

static void without_commit(const struct vd_recovery_facts *f, struct vd_recovery *ret)
{
    /* A group whose first start is still going on has commits on some partitions only. The maps tell those partitions from the ones
     * that were added later. */
    bool first_start = !f->sibling_committed || (uint32_t)f->partition < f->sibling_partitions;
    uint32_t known = f->sibling_partitions != 0 ? f->sibling_partitions : f->partitions;

    if (!first_start)
        begin(ret, f->low, known);
    else if (f->start == VD_KAFKA_START_EARLIEST)
        begin(ret, f->low, known);
    else if (f->start == VD_KAFKA_START_LATEST)
        begin(ret, f->high, known);
    else if (f->sibling_committed)
        begin(ret, f->low, known);
    else
        refuse(ret, "the group has committed nothing yet: set start = \"earliest\" or \"latest\"");
}

void vd_recovery_decide(const struct vd_recovery_facts *f, struct vd_recovery *ret)
{
    *ret = (struct vd_recovery){.action = VD_RECOVERY_RESUME};
    if (f->committed < 0) {
        without_commit(f, ret);
        return;
    }
    switch (vd_ledger_decode(f->metadata, &ret->map)) {
    case VD_LEDGER_READ_NONE:
        refuse(
            ret,
            "offset %" PRId64
            " was committed without a map, by another program: `verdict offsets accept` adopts it",
            f->committed);
        return;
    case VD_LEDGER_READ_FOREIGN:
        refuse(ret,
               "offset %" PRId64 " was committed with metadata that is no map of this program: "
               "`verdict offsets accept` adopts it",
               f->committed);
        return;
    case VD_LEDGER_READ_NEWER:
        refuse(ret,
               "the map at offset %" PRId64
               " was written by a newer version of verdict: run that one",
               f->committed);
        return;
    case VD_LEDGER_READ_OK:
        break;
    }
    if (ret->map.base != f->committed)
        refuse(ret,
               "the map belongs to offset %" PRId64 ", but %" PRId64
               " is committed: another program has committed; `verdict offsets accept` adopts it",
               ret->map.base, f->committed);
    else if (ret->map.base < f->low)
        refuse(ret,
               "offsets %" PRId64 " to %" PRId64
               " were deleted before they were finished: `verdict offsets reset` gives them up",
               ret->map.base, f->low - 1);
    else if (ret->map.base + (int64_t)ret->map.bit_count > f->high)
        refuse(ret,
               "the log ends at %" PRId64 ", before what is committed (%" PRId64
               "): was the topic created anew? `verdict offsets reset`",
               f->high, ret->map.base + (int64_t)ret->map.bit_count);
}
