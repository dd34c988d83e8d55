/* base/limits.h - every fixed bound of the program, each with its reason.
 *
 * Why:      everything from outside is hostile; a bound that stands alone in some file is forgotten.
 * Bounds that an operator may change are settings (ops/), with these as their maxima.
 */
#ifndef VD_BASE_LIMITS_H
#define VD_BASE_LIMITS_H

/* -- json ------------------------------------------------------------------------------------------------------- */
#define VD_JSON_MAX_DEPTH                                                                          \
    64 /* real payloads nest below 12; the parser and every walker recurse this deep */
#define VD_JSON_MAX_NUMBER_LEN                                                                     \
    400 /* longest digits a double can need is 309; longer is an attack on strtod */
#define VD_JSON_MAX_TREE_DEPTH                                                                     \
    (2 * VD_JSON_MAX_DEPTH) /* trees that the program builds around parsed ones; writers recurse */
#define VD_JSON_MAX_BYTES (64u << 20) /* files given to the command line tools */

/* -- events ------------------------------------------------------------------------------------------------------ */
#define VD_EVENT_MAX_BYTES                                                                         \
    (1u << 20)                  /* Kafka's own default message.max.bytes; larger is a dead letter */
#define VD_EVENT_MAX_HEADERS 64 /* CloudEvents needs under 20 */
#define VD_TEMPLATE_MAX_VALUE                                                                      \
    128 /* design/policies.md: a Redis key part longer than this is no id */
#define VD_KEY_MAX_BYTES                                                                           \
    512 /* policy key after encoding; keys are hashed, stored and logged by length */

/* -- jobs -------------------------------------------------------------------------------------------------------- */
#define VD_JOB_ARENA_MAX_BYTES (16u << 20) /* one job's memory; 16 times the largest event */
#define VD_HOPS_MAX            8           /* decision topics feeding policies: a loop must end */

/* -- ledger ------------------------------------------------------------------------------------------------------ */
#define VD_LEDGER_MAX_SPAN                                                                         \
    16384 /* 2,048 bytes of bits, about 2,760 base64 chars: fits the broker's 4,096 */

/* -- cel --------------------------------------------------------------------------------------------------------- */
#define VD_CEL_MAX_SOURCE_BYTES                                                                    \
    16384                   /* a rule that needs more is a missing feature of the language */
#define VD_CEL_MAX_DEPTH 64 /* nesting of the syntax tree; the evaluator recurses this deep */
#define VD_CEL_MAX_STEPS                                                                           \
    1000000 /* about 20 ms of evaluation: a rule over one event needs under 1,000 */

#endif
