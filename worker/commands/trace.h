/* commands/trace.h - an audit record, told to a person.
 *
 * Why:      `verdict decide` and the demo tell the same story from the same record.
 * Shapes:   the record is what the worker publishes to the audit topic: schemas/audit.v1.json.
 */
#ifndef VD_COMMANDS_TRACE_H
#define VD_COMMANDS_TRACE_H

#include <stdbool.h>

#include "base/err.h"
#include "kafka/kafka.h"

/* To standard output; whole: with what was shown and every rule that passed. VD_E_INPUT when text is no audit record. */
enum vd_code vd_trace_print(struct vd_span audit_json, bool whole, bool colour,
                            struct vd_err *err) VD_MUST_CHECK;
void vd_trace_print_dead_letter(const struct vd_output *letter);

#endif
