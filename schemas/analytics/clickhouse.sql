-- Decisions in ClickHouse; see README.md. ReplacingMergeTree with FINAL reads a record that was loaded again once.
CREATE TABLE decision_records (decision_id String, value String) ENGINE = ReplacingMergeTree ORDER BY decision_id;
CREATE TABLE audit_records    (decision_id String, value String) ENGINE = ReplacingMergeTree ORDER BY decision_id;

CREATE VIEW decisions AS
SELECT decision_id,
       parseDateTime64BestEffort(JSONExtractString(value, 'time'), 3, 'UTC')         AS time,
       toDate(parseDateTime64BestEffort(JSONExtractString(value, 'time'), 3, 'UTC')) AS day,
       JSONExtractString(value, 'policy_id')                       AS policy_id,
       JSONExtractInt(value, 'policy_version')                     AS policy_version,
       JSONExtractString(value, 'mode')                            AS mode,
       JSONExtractString(value, 'status')                          AS status,
       JSONExtract(value, 'decided_by', 'Nullable(String)')        AS decided_by,
       JSONExtract(value, 'action', 'Nullable(String)')            AS action,
       JSONExtractString(value, 'key')                             AS key,
       JSONExtract(value, 'params_json', 'Nullable(String)')       AS params_json,
       JSONExtract(value, 'degraded_reason', 'Nullable(String)')   AS degraded_reason,
       JSONExtract(value, 'confidence', 'Nullable(Float64)')       AS confidence,
       JSONExtractInt(value, 'cost_microusd')                      AS cost_microusd,
       JSONExtract(value, 'event', 'id', 'Nullable(String)')       AS event_id,
       JSONExtractString(value, 'event', 'topic')                  AS topic,
       JSONExtract(value, 'usage', 'model', 'Nullable(String)')    AS model,
       JSONExtractInt(value, 'usage', 'model_calls')               AS model_calls,
       JSONExtractInt(value, 'usage', 'input_tokens')              AS input_tokens,
       JSONExtractInt(value, 'usage', 'output_tokens')             AS output_tokens,
       JSONExtractInt(value, 'usage', 'total_ms')                  AS total_ms
  FROM decision_records FINAL;

CREATE VIEW rules AS
SELECT decision_id, JSONExtractString(rule, 'id') AS id, JSONExtractString(rule, 'verdict') AS verdict,
       JSONExtract(rule, 'headroom', 'Nullable(Float64)') AS headroom
  FROM decision_records FINAL ARRAY JOIN JSONExtractArrayRaw(value, 'rules') AS rule;

CREATE VIEW refunds_per_seller_per_day AS
SELECT JSONExtractString(audit.value, 'context', 'order', 'seller_id')                                      AS seller_id,
       d.day                                                                                                AS day,
       JSONExtractString(audit.value, 'reasoning', 'shown', 'event', 'data', 'object', 'currency')          AS currency,
       count()                                                                                              AS refunds,
       sum(JSONExtractInt(assumeNotNull(d.params_json), 'amount_minor'))                                    AS amount_minor
  FROM decisions AS d INNER JOIN (SELECT decision_id, value FROM audit_records FINAL) AS audit USING (decision_id)
 WHERE d.policy_id = 'marketplace.dispute' AND d.action = 'refund' AND d.mode = 'enforce' AND d.status <> 'escalated'
 GROUP BY seller_id, day, currency;

CREATE VIEW fallback_share_per_policy AS
SELECT policy_id, count() AS decisions, countIf(status = 'fallback') AS fallbacks, countIf(status = 'escalated') AS escalations,
       avg(status = 'fallback') AS fallback_share
  FROM decisions WHERE mode = 'enforce' GROUP BY policy_id;

CREATE VIEW cost_per_decision AS
SELECT policy_id, day, count() AS decisions, sum(d.cost_microusd) AS cost_microusd, avg(d.cost_microusd) AS cost_microusd_each,
       sum(d.model_calls) AS model_calls, sum(d.input_tokens) AS input_tokens, sum(d.output_tokens) AS output_tokens
  FROM decisions AS d GROUP BY policy_id, day;
