"""What a data team does with the published records: a few hundred real ones, loaded with the shipped table definitions.

The worker, a broker, Redis and the simulated model are real, the policies are the repository's own. Each engine that can be
imported here loads the records and answers three questions; the same numbers are counted from the records by plain Python, and
the refunds also from what was published.
"""

import collections
import datetime
import importlib
import importlib.util
import json
import sqlite3

import pytest

from support import model, paths, records
from support.processes import wait_until
from support.producer import Producer
from support.reader import Reader
from support.redis_server import RedisServer
from support.worker import Worker, settings

GROUP = "analytics"
TOPICS = [{"name": "stripe.events", "format": "json"},
          {"name": "shopify.orders", "format": "json", "id": "body.id", "time": "body.created_at"}]
DECISIONS = ["decisions.orders", "decisions.billing", "decisions.marketplace", "decisions.review"]
POLICIES = ["orders/fulfilment", "orders/risk_hold", "billing/dunning", "marketplace/dispute"]
DISPUTES, INVOICES, ORDERS = 120, 90, 60
PRICE_INPUT, PRICE_OUTPUT = 250_000, 1_250_000  # micro-USD a million tokens

STATUSES = ["lost", "returned", "delivered", "in_transit"]
REFUNDS = {"lost": 4900, "returned": 2000}


def proposal(action, evidence=(), **params):
    return {"action": action, "params": params, "confidence": 0.9, "rationale": "", "evidence": list(evidence)}


# What the simulated model answers, by what it was shown; nothing usable about a card that was not honoured.
BEHAVIOUR = {"rules": [
    {"match": '"status":"lost', "answers": [proposal("refund", ["/order/status"], amount_minor=REFUNDS["lost"])]},
    {"match": '"status":"returned', "answers": [proposal("refund", ["/order/status"], amount_minor=REFUNDS["returned"])]},
    {"match": '"status":"delivered', "answers": [proposal("deny", ["/order/status"], reason="delivered")]},
    {"match": '"status":"in_transit', "answers": [proposal("ask_evidence", party="seller", days=7)]},
    {"match": "insufficient_funds", "answers": [proposal("retry", after_hours=24, method="same")]},
    {"match": "do_not_honor", "answers": ["I would rather not say."]},
    {"match": '"able":["reno', "answers": [proposal("ship", warehouse="reno", carrier="standard", promise_days=6)]},
    {"match": '"reasons":["not_assessed', "answers": [proposal("hold", reason="not_assessed", recheck_hours=1)]},
]}


def seed(redis):
    for n in range(DISPUTES):
        redis.hset(f"order:ch_{n}", mapping={"status": STATUSES[n % 4], "paid_minor": 4900, "refunded_minor": 0,
                                             "seller_id": f"seller-{n % 5}", "buyer_email": f"buyer{n}@shop.example"})
    for n in range(INVOICES):
        redis.hset(f"sub:sub_{n}", mapping={
            "plan": "pro", "months_active": 5, "last_decline": "do_not_honor" if n % 6 == 0 else "insufficient_funds",
            "has_backup_method": "false"})
    redis.hset("warehouses:US", "reno", json.dumps(
        {"capacity_left": 900, "stock": {"CUP": 900}, "carriers": {"standard": {"days": 5, "cost_minor": 490}}}))


def events():
    """(topic, key, body) of each event."""
    def stripe(kind, n, body):
        return {"id": f"evt_{kind}_{n}", "object": "event", "type": kind, "created": 1764000000, "data": {"object": body}}

    for n in range(DISPUTES):
        yield "stripe.events", f"ch_{n}", stripe("charge.dispute.created", n, {
            "id": f"dp_{n}", "charge": f"ch_{n}", "amount": 4900, "currency": "usd" if n % 3 else "eur",
            "reason": "product_not_received", "status": "needs_response"})
    for n in range(INVOICES):
        yield "stripe.events", f"cus_{n}", stripe("invoice.payment_failed", n, {
            "id": f"in_{n}", "customer": f"cus_{n}", "subscription": f"sub_{n}", "amount_due": 4900, "currency": "usd",
            "attempt_count": 1})
    for n in range(ORDERS):
        yield "shopify.orders", f"{n}", {
            "id": 7000 + n, "created_at": "2026-01-15T12:00:00Z", "currency": "USD", "total_price": "80.00",
            "financial_status": "paid", "line_items": [{"sku": "CUP", "quantity": 1}],
            "shipping_address": {"country_code": "US"}}


EXPECTED = DISPUTES + INVOICES + 2 * ORDERS  # both order policies decide each order


@pytest.fixture(scope="module")
def published(brokers, binary, run_dir):
    """(decisions, audits): the values of what a worker published."""
    directory = run_dir / "analytics"
    directory.mkdir()
    broker = brokers("kafka-analytics")
    broker.create_topics([topic["name"] for topic in TOPICS], partitions=2)
    broker.create_topics(DECISIONS + ["decisions.audit", "decisions.shadow", "decisions.dead-letter"])
    for name in POLICIES:  # as they are, with everything that they name
        for path in (paths.POLICIES / name).parent.glob(f"{(paths.POLICIES / name).name}.*"):
            copy = directory / "policies" / path.relative_to(paths.POLICIES)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (directory / "schemas").symlink_to(paths.SCHEMAS)
    redis = RedisServer(directory / "redis").start()
    sim = model.ModelSim(directory).start()
    worker = None
    try:
        seed(redis.client())
        sim.control(**BEHAVIOUR)
        producer = Producer(broker.bootstrap)
        for topic, key, body in events():
            producer.send(topic, json.dumps(body).encode(), key=key.encode())
        producer.flush()
        conf = settings(broker.bootstrap, redis.address, sim.url, TOPICS, policies=directory / "policies", group=GROUP,
                        models={"main": {"price_input": PRICE_INPUT, "price_output": PRICE_OUTPUT}})
        worker = Worker(directory, conf).start()
        wait_until(lambda: sum(broker.committed(GROUP, topic["name"])[p] or 0
                               for topic in TOPICS for p in (0, 1)) == DISPUTES + INVOICES + ORDERS,
                   90, "every event is decided", worker.process, interval=0.3)
        assert worker.stop() == 0
    finally:
        if worker is not None:
            worker.kill()
        sim.kill()
        redis.kill()
    with Reader(broker.bootstrap, DECISIONS + ["decisions.audit", "decisions.dead-letter"]) as reader:
        found = reader.drain()
    assert [records.check_dead_letter(record) for record in found if record.topic == "decisions.dead-letter"] == []
    return ([records.check_decision(record) for record in found if record.topic in DECISIONS],
            [records.check_audit(record) for record in found if record.topic == "decisions.audit"])


# --- engines ----------------------------------------------------------------------------------------------------------

class Sqlite:
    insert = "INSERT OR REPLACE INTO {table} VALUES (?, ?)"

    def __init__(self, script):
        self.connection = sqlite3.connect(":memory:")
        self.connection.executescript(script)

    def load(self, table, rows):
        self.connection.executemany(self.insert.format(table=table), rows)

    def query(self, text):
        return [tuple(row) for row in self.connection.execute(text)]


class Duckdb(Sqlite):
    def __init__(self, script):
        self.connection = importlib.import_module("duckdb").connect(":memory:")
        self.connection.execute(script)

    def query(self, text):
        return self.connection.execute(text).fetchall()


class Clickhouse:
    """ClickHouse inside this process (chdb)."""

    def __init__(self, script):
        self.session = importlib.import_module("chdb.session").Session()
        lines = [line for line in script.splitlines() if not line.startswith("--")]
        for statement in "\n".join(lines).split(";"):
            if statement.strip():
                self.session.query(statement)

    def load(self, table, rows):
        lines = "\n".join(json.dumps({"decision_id": identity, "value": value}) for identity, value in rows)
        self.session.query(f"INSERT INTO {table} FORMAT JSONEachRow {lines}")

    def query(self, text):
        answer = self.session.query(text, "JSONCompactEachRow").bytes().decode()
        return [tuple(json.loads(line)) for line in answer.splitlines()]


ENGINES = [(name, kind) for name, kind, module in [
    ("sqlite", Sqlite, "sqlite3"), ("duckdb", Duckdb, "duckdb"), ("clickhouse", Clickhouse, "chdb")]
    if importlib.util.find_spec(module)]


@pytest.fixture(scope="module", params=ENGINES, ids=[name for name, _ in ENGINES])
def database(request, published):
    name, kind = request.param
    engine = kind((paths.SCHEMAS / "analytics" / f"{name}.sql").read_text())
    for _ in range(2):  # what is read again is not counted twice
        for table, values in zip(("decision_records", "audit_records"), published):
            engine.load(table, [(value["decision_id"], json.dumps(value)) for value in values])
    return engine


def day(decision):
    return decision["time"][:10]


def plain(value):
    return value.isoformat() if isinstance(value, datetime.date) else int(value) if isinstance(value, str) and value.isdigit() \
        else value


def answer(database, text):
    """{first columns: last column}"""
    return {tuple(map(plain, row[:-1])): plain(row[-1]) for row in database.query(text)}


# --- questions --------------------------------------------------------------------------------------------------------

def test_there_are_a_few_hundred_decisions_of_all_kinds(published):
    decisions, audits = published
    assert len(decisions) == len(audits) == EXPECTED
    assert {decision["policy_id"] for decision in decisions} == {name.replace("/", ".") for name in POLICIES}
    assert {decision["status"] for decision in decisions} >= {"decided", "fallback"}


def test_refunds_per_seller_per_day(database, published):
    got = answer(database, "SELECT seller_id, day, currency, refunds, amount_minor FROM refunds_per_seller_per_day")
    by_seller = collections.Counter()  # as published: what the order service says, and what a refund is worth
    for n in range(DISPUTES):
        if STATUSES[n % 4] in REFUNDS:
            by_seller[f"seller-{n % 5}", "usd" if n % 3 else "eur"] += REFUNDS[STATUSES[n % 4]]
    summed = collections.Counter()
    for (seller, _, currency, _), amount in got.items():
        summed[seller, currency] += amount
    assert summed == by_seller
    decisions, audits = published  # and by day, from the records
    seller_of = {audit["decision_id"]: audit["context"]["order"]["seller_id"] for audit in audits if "order" in audit["context"]}
    per_day = collections.Counter()
    for decision in decisions:
        if decision["action"] == "refund":
            per_day[seller_of[decision["decision_id"]], day(decision)] += decision["params"]["amount_minor"]
    by_day = collections.Counter()
    for (seller, at, _, _), amount in got.items():
        by_day[seller, at] += amount
    assert by_day == per_day


def test_fallback_share_per_policy(database, published):
    got = answer(database, "SELECT policy_id, decisions, fallbacks, escalations, fallback_share FROM fallback_share_per_policy")
    counted = {}
    for name in POLICIES:
        of = [decision["status"] for decision in published[0] if decision["policy_id"] == name.replace("/", ".")]
        counted[name.replace("/", "."), len(of), of.count("fallback"), of.count("escalated")] = of.count("fallback") / len(of)
    assert got.keys() == counted.keys()
    assert all(abs(got[row] - counted[row]) < 1e-9 for row in counted)
    dunning, = [share for row, share in got.items() if row[0] == "billing.dunning"]
    assert dunning == pytest.approx(1 / 6)  # the cards about which the model says nothing usable


def test_cost_per_decision(database, published):
    got = {(row[0], plain(row[1])): tuple(map(plain, row[2:])) for row in database.query(
        "SELECT policy_id, day, decisions, cost_microusd, cost_microusd_each, input_tokens, output_tokens FROM cost_per_decision")}
    counted = {}
    for decision in published[0]:
        row = counted.setdefault((decision["policy_id"], day(decision)), [0, 0, 0, 0])
        usage = decision["usage"]
        for i, part in enumerate((1, decision["cost_microusd"], usage["input_tokens"], usage["output_tokens"])):
            row[i] += part
    assert {key: (row[0], row[1], row[3], row[4]) for key, row in got.items()} == {key: tuple(row) for key, row in counted.items()}
    for decisions, cost, each, tokens_in, tokens_out in got.values():
        assert each == pytest.approx(cost / decisions)
        # Each call is rounded up to a whole micro-USD.
        assert cost == pytest.approx((tokens_in * PRICE_INPUT + tokens_out * PRICE_OUTPUT) / 1e6, abs=2 * decisions) and cost > 0


def test_rules_are_rows(database, published):
    counted = collections.Counter((rule["id"], rule["verdict"]) for decision in published[0] for rule in decision["rules"])
    assert answer(database, "SELECT id, verdict, count(*) FROM rules GROUP BY id, verdict") == counted
