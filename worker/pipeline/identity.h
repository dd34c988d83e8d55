/* pipeline/identity.h - the decision id: the same on every replay, another when a topic is made anew.
 *
 * Source:   design/records.md "Identity": SHA-256 over cluster id, topic, partition, offset, record timestamp, event source, event
 *           id, event hash, policy id, each with its length in front. A redriven record carries the original's id on.
 * Thread:   any; pure.
 */
#ifndef VD_PIPELINE_IDENTITY_H
#define VD_PIPELINE_IDENTITY_H

#include "pipeline/event.h"

/* cluster_id NULL counts as "". False when memory is out. */
bool vd_decision_id(const char *cluster_id, const struct vd_record *rec,
                    const struct vd_event *event, const char *policy_id,
                    char out[VD_SHA256_HEX_SIZE]);

#endif
