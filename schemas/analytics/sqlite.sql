-- Decisions in SQLite 3.38 or newer; see README.md. INSERT OR REPLACE loads a record again without counting it twice.
CREATE TABLE decision_records (decision_id TEXT PRIMARY KEY, value TEXT NOT NULL CHECK (json_valid(value)));
CREATE TABLE audit_records    (decision_id TEXT PRIMARY KEY, value TEXT NOT NULL CHECK (json_valid(value)));

CREATE VIEW decisions AS
SELECT decision_id,
       value ->> '$.time'                 AS time,
       date(value ->> '$.time')           AS day,
       value ->> '$.policy_id'            AS policy_id,
       value ->> '$.policy_version'       AS policy_version,
       value ->> '$.mode'                 AS mode,
       value ->> '$.status'               AS status,
       value ->> '$.decided_by'           AS decided_by,
       value ->> '$.action'               AS action,
       value ->> '$.key'                  AS key,
       value ->> '$.params_json'          AS params_json,
       value ->> '$.degraded_reason'      AS degraded_reason,
       value ->> '$.confidence'           AS confidence,
       value ->> '$.cost_microusd'        AS cost_microusd,
       value ->> '$.event.id'             AS event_id,
       value ->> '$.event.topic'          AS topic,
       value ->> '$.usage.model'          AS model,
       value ->> '$.usage.model_calls'    AS model_calls,
       value ->> '$.usage.input_tokens'   AS input_tokens,
       value ->> '$.usage.output_tokens'  AS output_tokens,
       value ->> '$.usage.total_ms'       AS total_ms
  FROM decision_records;

CREATE VIEW rules AS
SELECT decision_id, rule.value ->> '$.id' AS id, rule.value ->> '$.verdict' AS verdict, rule.value ->> '$.headroom' AS headroom
  FROM decision_records, json_each(decision_records.value, '$.rules') AS rule;

CREATE VIEW refunds_per_seller_per_day AS
SELECT audit.value ->> '$.context.order.seller_id'                    AS seller_id,
       d.day                                                          AS day,
       audit.value ->> '$.reasoning.shown.event.data.object.currency' AS currency,
       count(*)                                                       AS refunds,
       sum(d.params_json ->> '$.amount_minor')                        AS amount_minor
  FROM decisions d JOIN audit_records audit USING (decision_id)
 WHERE d.policy_id = 'marketplace.dispute' AND d.action = 'refund' AND d.mode = 'enforce' AND d.status <> 'escalated'
 GROUP BY 1, 2, 3;

CREATE VIEW fallback_share_per_policy AS
SELECT policy_id, count(*) AS decisions, sum(status = 'fallback') AS fallbacks, sum(status = 'escalated') AS escalations,
       avg(status = 'fallback') AS fallback_share
  FROM decisions WHERE mode = 'enforce' GROUP BY policy_id;

CREATE VIEW cost_per_decision AS
SELECT policy_id, day, count(*) AS decisions, sum(cost_microusd) AS cost_microusd, avg(cost_microusd) AS cost_microusd_each,
       sum(model_calls) AS model_calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
  FROM decisions GROUP BY policy_id, day;
