/* kafka/sabotage.h - negative controls: break one rule of delivery on purpose, to see that the checks notice.
 *
 * Why:      a checker that has never failed proves nothing. Reachable only by VERDICT_TEST_SABOTAGE together with VERDICT_TEST=1.
 * Thread:   read once at start, const afterwards.
 */
#ifndef VD_KAFKA_SABOTAGE_H
#define VD_KAFKA_SABOTAGE_H

#include <stdbool.h>

#include "base/err.h"

struct vd_sabotage {
    bool
        offsets_outside; /* "offsets-outside": commit offsets by the consumer, not in the transaction */
    bool drop_map;       /* "drop-map": commit the base with an empty map */
    bool ignore_epochs; /* "ignore-epochs": publish outcomes of partitions that were taken away */
    bool refetch_group; /* "refetch-group": group metadata of the moment of sending */
    bool republish_unknown; /* "republish-unknown": take an unknown result for an abort */
    bool gaps_unfinished; /* "gaps-unfinished": offsets that are never delivered stay unfinished */
    bool
        forget_commit; /* "forget-commit": every 20th confirmed commit counts as unknown; no rule is broken by it */
};

/* VD_E_CONFIG when the variable is set without VERDICT_TEST=1, or to something else. */
enum vd_code vd_sabotage_read(struct vd_sabotage *ret, struct vd_err *err) VD_MUST_CHECK;

#endif
