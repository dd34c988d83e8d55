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
    128 /* twice the above: trees that the program builds around parsed ones; writers recurse */
#define VD_JSON_MAX_BYTES (64u << 20) /* files given to the command line tools */

/* -- schema ------------------------------------------------------------------------------------------------------ */
#define VD_SCHEMA_MAX_COMPILED_BYTES                                                               \
    (32u << 20) /* the largest published event schemas take under 1 MB once compiled */
#define VD_SCHEMA_MAX_DOCUMENTS 256 /* that one schema may pull in: a chain of $ref must end */
#define VD_SCHEMA_MAX_DEPTH                                                                        \
    1024 /* nested evaluations: 16 for each level that JSON may nest; a $ref cycle ends here */
#define VD_SCHEMA_MAX_STEPS                                                                        \
    4000000 /* about 100 ms; one order takes under 1,000, 1 MB of small items under 2,000,000 */
#define VD_SCHEMA_MAX_PATTERN_BYTES 4096 /* a longer regular expression is generated or hostile */
#define VD_SCHEMA_MAX_MATCH_STEPS                                                                  \
    500000 /* inside one match of one pattern, about 10 ms: more is catastrophic backtracking */
#define VD_SCHEMA_MATCH_HEAP_KIB 4096 /* backtracking memory of one match */

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

/* -- records ----------------------------------------------------------------------------------------------------- */
#define VD_DECISION_MAX_BYTES                                                                      \
    (1u << 20) /* Kafka's default max.message.bytes; params and rules are bounded far below */
#define VD_AUDIT_MAX_BYTES                                                                         \
    (8u << 20) /* one part of an audit record before it is fitted to its topic */

/* -- model requests ---------------------------------------------------------------------------------------------- */
#define VD_PROPOSAL_SCHEMA_MAX_BYTES                                                               \
    (256u << 10) /* a `from` list of thousands does not belong in a prompt */
#define VD_OUTPUT_TOKENS_DEFAULT                                                                   \
    1024 /* a proposal needs under 300; reasoning models add their own */

/* -- journal ----------------------------------------------------------------------------------------------------- */
#define VD_JOURNAL_STEP_MAX_BYTES                                                                  \
    (128u << 10) /* one answer as JSON; an answer that is judged has at most 64 KiB */
#define VD_JOURNAL_SEEN_MAX_BYTES                                                                  \
    (2u << 20) /* step 0: all context of a job is at most 1 MiB before it is escaped */
#define VD_JOURNAL_MAX_BYTES                                                                       \
    (8u << 20) /* one entry as read: step 0, 20 answers, and what tools gave */

/* -- ledger ------------------------------------------------------------------------------------------------------ */
#define VD_LEDGER_MAX_SPAN                                                                         \
    16384 /* 2,048 bytes of bits, about 2,760 base64 chars: fits the broker's 4,096 */

/* -- kafka ------------------------------------------------------------------------------------------------------- */
#define VD_KAFKA_PROPERTY_MAX_BYTES                                                                \
    65536 /* a `_file` property: a key with its certificate chain needs under 16 KiB */
#define VD_KAFKA_MESSAGE_MAX_BYTES                                                                 \
    (64u << 20) /* one produced record; the topic's own max.message.bytes is below it */
#define VD_KAFKA_TRANSACTION_MAX_OUTCOMES                                                          \
    5000 /* a backlog goes out in several transactions, each well below its time-out */
#define VD_KAFKA_TRANSACTION_MAX_BYTES                                                             \
    (16u << 20) /* of outputs in one transaction: they are copied into the producer's queue */
#define VD_KAFKA_TRANSACTION_MAX_PARTITIONS                                                        \
    180 /* maps of at most 2,784 bytes each: below 512 KiB in one offset commit request */

/* -- cel --------------------------------------------------------------------------------------------------------- */
#define VD_CEL_MAX_SOURCE_BYTES                                                                    \
    16384 /* a rule that needs more is a missing feature of the language */
#define VD_CEL_MAX_DEPTH                                                                           \
    64 /* nesting of brackets, calls and conditionals; the parser recurses this deep */
#define VD_CEL_MAX_HEIGHT                                                                          \
    256 /* a chain such as a + b + c is as high as it is long; the evaluator recurses this deep */
#define VD_CEL_MAX_LOCALS                                                                          \
    32 /* macro variables in scope at once; they live on the evaluator's stack, 24 bytes each */
#define VD_CEL_MAX_GET_STEPS                                                                       \
    16 /* fields of get(a.b.c, other): its tree grows with their square; payloads nest below 12 */
#define VD_CEL_MAX_NAMES     1024 /* variables of one environment: a policy declares under 50 */
#define VD_CEL_MAX_NAME_LEN  256  /* a qualified name; longer is no name */
#define VD_CEL_PROGRAM_BYTES (4u << 20) /* tree of the largest source, about 130 bytes a node */
#define VD_CEL_MAX_STEPS                                                                           \
    1000000 /* about 20 ms of evaluation: a rule over one event needs under 1,000 */
#define VD_CEL_FOLD_STEPS                                                                          \
    1000 /* constant folding at compile time; a larger constant is left to eval */
#define VD_CEL_MAX_PATTERN_BYTES  1024 /* a regular expression; bounds PCRE2's compile time */
#define VD_CEL_MAX_PATTERN_REPEAT 1000 /* RE2's own bound for {n,m} */
#define VD_CEL_MATCH_HEAP_KIB     1024 /* PCRE2's backtracking memory for one match */
#define VD_CEL_MAX_EQUAL_DEPTH    512  /* equality, format and JSON recurse into values this deep */
#define VD_CEL_MAX_ZONE_BYTES                                                                      \
    16384 /* the largest file of the tz database is under 4 KB; read on the stack */
#define VD_CEL_ZONE_STEPS 5000 /* reading a zone by a name that is not constant opens a file */

/* -- redis ------------------------------------------------------------------------------------------------------- */
#define VD_REDIS_REPLY_MAX_BYTES                                                                   \
    (1u << 20) /* replies of one pipeline, unless it says otherwise: as large as an event */
#define VD_REDIS_SOCKET_MAX_BYTES                                                                  \
    (16u << 20) /* one value still being received; a larger one costs the connection */
#define VD_REDIS_MAX_ARGC      1024 /* words of one command: a script call with hundreds of limits */
#define VD_REDIS_MAX_PIPELINE  64   /* commands of one pipeline: a policy's context reads */
#define VD_REDIS_MAX_PIPELINES 65536       /* in flight and waiting: ten times the most jobs */
#define VD_REDIS_MAX_BYTES     (64u << 20) /* commands waiting for the connection */
#define VD_LIMIT_MAX_ITEMS                                                                         \
    128 /* reservations of one decision: seven words each in VD_REDIS_MAX_ARGC; an order has fewer lines */
#define VD_LIMIT_MAX_AMOUNT  (INT64_C(1) << 53) /* the scripts' numbers are doubles */
#define VD_CONTEXT_MAX_ITEMS 1024 /* elements of a list or range that a policy may read */

#define VD_EFFECT_ENTRY_MAX_BYTES                                                                  \
    (256u                                                                                          \
     << 10) /* what one decision changes: state and note under 32 KiB, limits for hundreds of items */
#define VD_EFFECTS_REPLY_MAX_BYTES                                                                 \
    (8u << 20) /* the names of all entries of a partition: as many as its span, 90 bytes each */

/* -- http -------------------------------------------------------------------------------------------------------- */
#define VD_HTTP_HEADER_MAX_BYTES (64u << 10) /* response headers; real ones are under 4 KiB */
#define VD_HTTP_HEADER_KEPT      256         /* one header value: ids and dates are far shorter */
#define VD_HTTP_BODY_MAX_BYTES   (1u << 20)
#define VD_HTTP_SHARD_MAX                                                                          \
    100 /* requests on one multi handle: libcurl looks through its connections for each (47 us at 100, 132 us at 5,000) */
#define VD_HTTP_MAX_IN_FLIGHT 16384 /* 16 kB each through libcurl */
#define VD_HTTP_URL_MAX_BYTES 4096

/* -- models ------------------------------------------------------------------------------------------------------ */
#define VD_MODEL_RESPONSE_MAX_BYTES (1u << 20) /* 8,192 output tokens are about 32 KiB */
#define VD_MODEL_REQUEST_MAX_BYTES  (4u << 20) /* a million tokens' worth of prompt */
#define VD_MODEL_MAX_TOOL_CALLS     16         /* in one answer; more is a broken model */
#define VD_MODEL_KEY_MAX_BYTES      4096
#define VD_MODEL_EXTRACT_MAX_TRIES                                                                 \
    32 /* places in a prose answer where JSON is looked for: bounds the scan at tries times length */

/* -- settings and policies ---------------------------------------------------------------------------------------- */
#define VD_CONF_MAX_BYTES         (1u << 20) /* a settings or policy file with all it includes */
#define VD_CONF_MAX_DEPTH         32 /* groups and lists in each other; walkers recurse this deep */
#define VD_CONF_MAX_INCLUDES      16 /* files that one file may include, and the depth of includes */
#define VD_CONF_ARENA_MAX_BYTES   (32u << 20) /* the tree of the largest file */
#define VD_DIAG_MAX               200 /* nobody corrects more in one go; the rest is counted */
#define VD_POLICY_ARENA_MAX_BYTES (32u << 20) /* one loaded policy with prompt and schemas */
#define VD_DEDUPE_MAX_WINDOW_S                                                                     \
    (90 *                                                                                          \
     86400) /* an id costs Redis about 200 bytes: a quarter year of them is an operator's limit, too */
#define VD_POLICY_ID_MAX_BYTES 100 /* policy.id: it stands in keys, labels and every decision */
#define VD_POLICY_MAX_NAMES                                                                        \
    200 /* contexts, lets, actions, rules of one action, params: each list */
#define VD_POLICY_MAX_FILES    1000 /* files of a policies folder */
#define VD_POLICY_FOLDER_DEPTH 8    /* folders in each other: a link loop must end */
#define VD_PARAM_MAX_DEPTH     8 /* arrays and objects in each other; the judge recurses this deep */
#define VD_PARAM_MAX_ITEMS                                                                         \
    1000 /* items of an array without max_items: what one decision may carry */
#define VD_PARAM_MAX_STRING 4096 /* characters of a string param without max_len */
#define VD_CHOICES_MAX      1000 /* `from` and `enum`: OpenAI's strict mode takes 1,000 enum values */
#define VD_STATE_MAX_FIELDS 32   /* what is remembered of a key between two of its events */
#define VD_STATE_MAX_STRING 256 /* characters of one string: a word or an id, not a text */
#define VD_STATE_MAX_CHARS                                                                         \
    2048 /* of all strings of one state: it is read for each event, written for each decision */
#define VD_STATE_MAX_BYTES                                                                         \
    (16u << 10)                  /* a state as text: 2,048 characters of four bytes, and numbers */
#define VD_MEMORY_MAX_READ  50   /* notes that one decision sees */
#define VD_MEMORY_MAX_NOTES 200  /* that are kept of a key */
#define VD_NOTE_MAX_CHARS   1000 /* text of a note: a paragraph */
#define VD_NOTE_MAX_FIELDS  16   /* values of a note that rules may read */
#define VD_NOTE_WORD_MAX                                                                           \
    64 /* one of them that is a word: long enough for any id or enum, too short for an order */
#define VD_PROMPT_FILE_MAX_BYTES                                                                   \
    (256u << 10)                       /* prompt text; more does not fit a model's attention */
#define VD_PROMPT_MAX_DATA (64u << 10) /* facts shown to the model, as JSON: about 20,000 tokens */
#define VD_PROMPT_MAX_STRING                                                                       \
    4096                        /* one shown string: a buyer's essay must not crowd out the facts */
#define VD_PROMPT_MAX_ITEMS 200 /* one shown array */
#define VD_PROMPT_BYTES_PER_TOKEN                                                                  \
    3 /* estimate for budgets, low on purpose: English has 4, JSON about 3 */
#define VD_SHOW_MAX_NODES                                                                          \
    100000 /* nodes that the paths of `show` and `redact` may touch in one event */
#define VD_PROMPT_FRAME_BYTES                                                                      \
    1024 /* words, markers and choices around the shown data, when a token budget is cut to size */
#define VD_ANSWER_MAX_BYTES    (64u << 10) /* a proposal is under 2 KiB */
#define VD_RATIONALE_MAX_CHARS 500         /* records.md; a longer one is cut */
#define VD_EVIDENCE_MAX        64          /* pointers a proposal may cite */
#define VD_REASON_MAX_CALLS    20          /* budget.max_model_calls at most: a loop must end */
#define VD_TOOL_MAX_CALLS      100         /* budget.max_tool_calls at most */
#define VD_TOOL_MAX_HOSTS      64          /* tools.hosts: each has its own connections */
#define VD_TOOL_MAX_TURN       16          /* tool calls in one answer; more is a broken model */
#define VD_TOOL_MAX_BYTES                                                                          \
    (256u << 10) /* one answer of a tool; what is shown of an event is a quarter */
#define VD_TOOL_ARGS_MAX_BYTES 4096 /* arguments of one call: a few values of short lists */
#define VD_TOOL_RECORD_MAX_BYTES                                                                   \
    (16u << 10)                    /* of an answer in the audit record; of a longer one its hash */
#define VD_TOOL_HOST_MAX_BYTES 255 /* a DNS name, or an IPv6 address in brackets */
#define VD_REDACT_MIN_TEXT     4   /* shorter values are everywhere in any text */

#endif
