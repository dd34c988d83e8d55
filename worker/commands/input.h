/* commands/input.h - batches of rows for the command line tools.
 *
 * Why:      suites give one JSON object a line; any line may be anything, and none may crash a tool or cost the others their answer.
 * Thread:   main thread; blocking.
 */
#ifndef VD_COMMANDS_INPUT_H
#define VD_COMMANDS_INPUT_H

#include "base/buf.h"
#include "base/err.h"
#include "json/json.h"

/* Answers one line: adds one JSON object to out, without newline. row is what the line holds, borrowed. */
typedef void vd_input_row_fn(void *arg, const cJSON *row, struct vd_buf *out);

/* One JSON object a line on standard input, one on standard output, in order. A line that is no JSON object gets
 * {"error":"..."}. Returns an exit status: 0, or EX_IOERR when the output cannot be written. */
int vd_input_batch(vd_input_row_fn *answer, void *arg);

/* {"error":"message"}, the answer to a row that cannot be worked on. */
void vd_input_answer_error(struct vd_buf *out, const char *message);

#endif
