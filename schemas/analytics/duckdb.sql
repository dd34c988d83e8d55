-- Decisions in DuckDB; see README.md. INSERT OR REPLACE loads a record again without counting it twice.
CREATE TABLE decision_records (decision_id VARCHAR PRIMARY KEY, value JSON NOT NULL);
CREATE TABLE audit_records    (decision_id VARCHAR PRIMARY KEY, value JSON NOT NULL);

CREATE VIEW decisions AS
SELECT decision_id,
       (value ->> '$.time')::TIMESTAMP               AS time,
       (value ->> '$.time')::TIMESTAMP::DATE         AS day,
       value ->> '$.policy_id'                       AS policy_id,
       (value ->> '$.policy_version')::BIGINT        AS policy_version,
       value ->> '$.mode'                            AS mode,
       value ->> '$.status'                          AS status,
       value ->> '$.decided_by'                      AS decided_by,
       value ->> '$.action'                          AS action,
       value ->> '$.key'                             AS key,
       value ->> '$.params_json'                     AS params_json,
       value ->> '$.degraded_reason'                 AS degraded_reason,
       (value ->> '$.confidence')::DOUBLE            AS confidence,
       (value ->> '$.cost_microusd')::BIGINT         AS cost_microusd,
       value ->> '$.event.id'                        AS event_id,
       value ->> '$.event.topic'                     AS topic,
       value ->> '$.usage.model'                     AS model,
       (value ->> '$.usage.model_calls')::BIGINT     AS model_calls,
       (value ->> '$.usage.input_tokens')::BIGINT    AS input_tokens,
       (value ->> '$.usage.output_tokens')::BIGINT   AS output_tokens,
       (value ->> '$.usage.total_ms')::BIGINT        AS total_ms
  FROM decision_records;

CREATE VIEW rules AS
SELECT decision_id, rule.id AS id, rule.verdict AS verdict, rule.headroom AS headroom
  FROM (SELECT decision_id,
               unnest(from_json(value -> '$.rules', '[{"id": "VARCHAR", "verdict": "VARCHAR", "headroom": "DOUBLE"}]')) AS rule
          FROM decision_records);

CREATE VIEW refunds_per_seller_per_day AS
SELECT audit.value ->> '$.context.order.seller_id'                    AS seller_id,
       d.day                                                          AS day,
       audit.value ->> '$.reasoning.shown.event.data.object.currency' AS currency,
       count(*)                                                       AS refunds,
       sum((d.params_json::JSON ->> '$.amount_minor')::BIGINT)        AS amount_minor
  FROM decisions d JOIN audit_records audit USING (decision_id)
 WHERE d.policy_id = 'marketplace.dispute' AND d.action = 'refund' AND d.mode = 'enforce' AND d.status <> 'escalated'
 GROUP BY 1, 2, 3;

CREATE VIEW fallback_share_per_policy AS
SELECT policy_id, count(*) AS decisions, count(*) FILTER (status = 'fallback') AS fallbacks,
       count(*) FILTER (status = 'escalated') AS escalations, avg((status = 'fallback')::INT) AS fallback_share
  FROM decisions WHERE mode = 'enforce' GROUP BY policy_id;

CREATE VIEW cost_per_decision AS
SELECT policy_id, day, count(*) AS decisions, sum(cost_microusd) AS cost_microusd, avg(cost_microusd) AS cost_microusd_each,
       sum(model_calls) AS model_calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
  FROM decisions GROUP BY policy_id, day;
