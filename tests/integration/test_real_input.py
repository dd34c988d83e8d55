"""Real input, end to end: business events in, exactly one valid decision for each matching policy out.

The policies and schemas of the repository, unchanged; a real Kafka broker and a real Redis; a scripted model; read back
by an independent client at read_committed and validated by python3-jsonschema.
"""

import dataclasses
import json

import pytest

from support import model, payloads, records
from support.processes import wait_until
from support.producer import Producer, cloudevent, cloudevent_headers
from support.reader import Reader
from support.redis_server import RedisServer
from support.worker import Worker, settings

GROUP = "real-input"

# How each topic's plain JSON says what a CloudEvent would say of itself.
TOPICS = [
    {"name": "stripe.events", "format": "json"},
    {"name": "shopify.orders", "format": "json", "id": "body.id", "type": "headers['X-Shopify-Topic']",
     "time": "body.created_at", "subject": "body.name"},
    {"name": "amazon.notifications", "format": "json", "id": "body.NotificationMetadata.NotificationId",
     "type": "body.NotificationType", "time": "body.EventTime"},
]
OUTPUTS = ["decisions.orders", "decisions.billing", "decisions.marketplace", "decisions.review", "decisions.shadow",
           "decisions.audit", "decisions.dead-letter"]

# For each event the policies that must decide it, and no other; where the decisions go; what the model proposes.
EXPECTED = {
    "Shopify order": {"orders.fulfilment": ("decisions.orders", "ship"), "orders.risk_hold": ("decisions.orders", "hold")},
    "Stripe invoice.payment_failed": {"billing.dunning": ("decisions.billing", "retry")},
    "Stripe charge.dispute.created": {"marketplace.dispute": ("decisions.marketplace", "refund")},
    "Amazon order change": {"marketplace.order_change": ("decisions.marketplace", "cancel")},
}
WAREHOUSE = {"capacity_left": 10, "carriers": {"standard": {"days": 3, "cost_minor": 490}}}


def as_cloudevents(payload):
    """The same Stripe event in both modes of CloudEvents, as a bridge in front of Kafka would send it."""
    event = json.loads(payload.value)
    value, headers = cloudevent(event["id"] + "-s", event["type"], event["data"], source="/stripe")
    yield dataclasses.replace(payload, name=payload.name + ", structured CloudEvent", value=value,
                              headers=tuple(headers), event_id=event["id"] + "-s")
    headers = cloudevent_headers(event["id"] + "-b", event["type"], source="/stripe",
                                 traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    headers.append(("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    yield dataclasses.replace(payload, name=payload.name + ", binary CloudEvent",
                              value=json.dumps(event["data"]).encode(), headers=tuple(headers),
                              event_id=event["id"] + "-b")


def events():
    plain = payloads.all_payloads()
    stripe = [payload for payload in plain if payload.topic == "stripe.events"]
    return plain + [event for payload in stripe for event in as_cloudevents(payload)]


EVENTS = events()
NAMES = [event.name for event in EVENTS]


def expected(name):
    """{policy: (topic, action)}"""
    return EXPECTED[name.split(",")[0]]


# Each event with each policy that decides it.
PAIRS = [pytest.param(event, policy, id=f"{event.name}, {policy}") for event in EVENTS for policy in expected(event.name)]


def seed(redis):
    """What the other services keep in Redis about the orders and warehouses of these events."""
    order = json.loads(payloads.shopify_order().value)
    stock = {item["sku"]: 50 for item in order["line_items"]}
    redis.hset(f"warehouses:{order['shipping_address']['country_code']}",
               mapping={"north": json.dumps({**WAREHOUSE, "stock": stock}),
                        "empty": json.dumps({**WAREHOUSE, "stock": {}})})
    redis.set(f"risks:{order['id']}", json.dumps({"risks": [{"score": "0.4", "recommendation": "investigate"}]}))
    dispute = payloads.stripe_dispute().facts
    redis.hset(f"order:{dispute['charge']}", mapping={
        "status": "lost", "paid_minor": dispute["amount"], "refunded_minor": 0, "seller_id": "s-1",
        "buyer_email": "buyer@example.com"})
    redis.hset(f"packing:{payloads.amazon_order_change().facts['order']}", mapping={"stage": "open", "made_to_order": "false"})


def sensible(request):
    """A model that proposes what the policies allow, read off the request: its choices are in the schema."""
    actions = model.asked_schema(request)["properties"]["action"]["enum"]
    if "refund" in actions:
        amount = payloads.stripe_dispute().facts["amount"]
        answer = model.answer_to(request, "refund", {"amount_minor": amount}, evidence=["/order/status"])
    elif "ship" in actions:
        answer = model.answer_to(request, "ship")
        answer["params"]["ship"]["promise_days"] = WAREHOUSE["carriers"]["standard"]["days"]
    elif "cancel" in actions:
        answer = model.answer_to(request, "cancel", {"items": payloads.amazon_order_change().facts["asked"], "restock": True},
                                 evidence=["/packing/stage"])
    elif "release" in actions:
        answer = model.answer_to(request, "hold", {"reason": "risky", "recheck_hours": 6})
    else:
        answer = model.answer_to(request, "retry", {"after_hours": 36, "method": "same"})
    return model.completion(answer)


@dataclasses.dataclass
class Outcome:
    records: dict     # topic: [Record]
    positions: dict   # event name: where it stands
    decisions: dict   # position: [(Record, value)]
    asked: list       # requests that the model got
    log: str
    exit_code: int


class World:
    """A broker, a Redis, and workers that are run over them until everything is finished."""

    def __init__(self, broker, directory):
        self.broker = broker
        self.directory = directory
        self.redis = RedisServer(directory / "redis").start()
        self.runs = 0

    def publish(self, events):
        producer = Producer(self.broker.bootstrap)
        return {event.name: producer.send_one(event.topic, event.value, key=event.key, headers=list(event.headers))
                for event in events}

    def work(self, script=sensible, group=GROUP):
        """Runs a worker until its group has finished every record."""
        self.runs += 1
        topics = [topic["name"] for topic in TOPICS]
        with model.ScriptedModel(script) as scripted:
            conf = settings(self.broker.bootstrap, self.redis.address, scripted.url, TOPICS, group=group)
            worker = Worker(self.directory, conf, name=f"worker-{self.runs}").start()
            try:
                ends = {topic: {p: end for p, end in self.broker.end_offsets(topic).items() if end} for topic in topics}

                def finished():
                    done = {topic: self.broker.committed(group, topic) for topic in topics}
                    return all(done[topic][p] == end for topic in topics for p, end in ends[topic].items())

                wait_until(finished, 60, f"every record of {ends} is finished", worker.process, interval=0.2)
                exit_code = worker.stop()
            finally:
                worker.kill()
        return worker, exit_code, scripted.requests

    def read(self):
        with Reader(self.broker.bootstrap, OUTPUTS) as reader:
            found = reader.drain()
        return {topic: [record for record in found if record.topic == topic] for topic in OUTPUTS}


def decided(found):
    """{position of the event: [(record, value)]} of every decision, review and shadow record."""
    out = {}
    for topic in OUTPUTS:
        if topic not in ("decisions.audit", "decisions.dead-letter"):
            for record in found[topic]:
                value = records.check_decision(record)
                out.setdefault(records.event_position(value), []).append((record, value))
    return out


@pytest.fixture(scope="module")
def world(brokers, binary, run_dir):
    directory = run_dir / "real-input"
    broker = brokers("kafka-real-input")
    broker.create_topics([topic["name"] for topic in TOPICS], partitions=2)
    broker.create_topics(OUTPUTS)
    world = World(broker, directory)
    yield world
    world.redis.kill()


@pytest.fixture(scope="module")
def outcome(world):
    seed(world.redis.client())
    positions = world.publish(EVENTS)
    worker, exit_code, asked = world.work()
    found = world.read()
    return Outcome(found, positions, decided(found), asked, worker.log(), exit_code)


def _one(outcome, name, policy):
    got = [of for of in outcome.decisions.get(outcome.positions[name], []) if of[1]["policy_id"] == policy]
    letters = [records.check_dead_letter(letter) for letter in outcome.records["decisions.dead-letter"]]
    assert len(got) == 1, f"{len(got)} decisions; dead letters: {letters}"
    return got[0]


# --- what must hold -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", NAMES)
def test_each_event_has_exactly_one_decision_by_each_of_its_policies(outcome, name):
    """Both order policies act on the same record."""
    got = outcome.decisions.get(outcome.positions[name], [])
    assert sorted(decision["policy_id"] for _, decision in got) == sorted(expected(name))


@pytest.mark.parametrize("event, policy", PAIRS)
def test_a_decision_is_the_models_within_its_policy(outcome, event, policy):
    record, decision = _one(outcome, event.name, policy)
    assert (record.topic, decision["action"]) == expected(event.name)[policy]
    assert (decision["status"], decision["decided_by"], decision["mode"]) == ("decided", "model", "enforce")
    assert decision["rules"] and all(rule["verdict"] == "pass" for rule in decision["rules"])
    assert (decision["usage"]["model_calls"], decision["usage"]["repairs"]) == (1, 0)


@pytest.mark.parametrize("name", [name for name in NAMES if "dispute" in name])
def test_a_refund_is_the_amount_that_was_disputed(outcome, name):
    _, decision = _one(outcome, name, "marketplace.dispute")
    assert decision["params"] == {"amount_minor": payloads.stripe_dispute().facts["amount"]}
    ceiling, = [rule for rule in decision["rules"] if rule["id"].endswith("ceiling")]
    assert ceiling["headroom"] == 0


@pytest.mark.parametrize("event, policy", PAIRS)
def test_a_decision_says_which_event_it_is_about(outcome, event, policy):
    record, decision = _one(outcome, event.name, policy)
    about = decision["event"]
    assert (about["id"], about["type"]) == (event.event_id, event.event_type)
    assert (about["topic"], about["partition"], about["offset"]) == outcome.positions[event.name]
    assert record.header("ce_policyid") == decision["policy_id"]


@pytest.mark.parametrize("event, policy", PAIRS)
def test_the_amounts_are_the_events_own(outcome, event, policy):
    """In what the model was shown, which the audit record keeps."""
    _, decision = _one(outcome, event.name, policy)
    audit, = [audit for audit in map(records.check_audit, outcome.records["decisions.audit"])
              if audit["decision_id"] == decision["decision_id"]]
    shown = list(leaves(audit["reasoning"]["shown"]))
    for fact in {"amount", "total", "unshipped", "currency"} & event.facts.keys():
        assert event.facts[fact] in shown, f"{fact} {event.facts[fact]} was not shown: {shown}"


def leaves(value):
    """Every scalar in a JSON value."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if items is None:
        yield value
    else:
        for item in items:
            yield from leaves(item)


def test_there_is_one_audit_record_for_each_decision_and_no_dead_letter(outcome):
    assert [records.check_dead_letter(letter) for letter in outcome.records["decisions.dead-letter"]] == []
    audits = [records.check_audit(record)["decision_id"] for record in outcome.records["decisions.audit"]]
    decisions = [value["decision_id"] for got in outcome.decisions.values() for _, value in got]
    assert sorted(audits) == sorted(decisions) and len(set(audits)) == len(PAIRS)


def test_decisions_without_an_event_do_not_exist(outcome):
    assert set(outcome.decisions) == set(outcome.positions.values())


def test_the_trace_goes_on(outcome):
    """W3C trace context is carried from the event to its decision."""
    for event, policy in (pair.values for pair in PAIRS):
        record, _ = _one(outcome, event.name, policy)
        sent = dict(event.headers).get("traceparent", b"").decode()
        assert (record.header("traceparent") or "")[:35] == sent[:35], event.name


def test_the_model_was_asked_with_a_schema_and_the_worker_ended_well(outcome):
    assert outcome.exit_code == 0
    assert outcome.asked and all(model.asked_schema(asked.body) for asked in outcome.asked)


def test_a_restarted_worker_finds_nothing_to_do(world, outcome):
    """Its offsets were committed with the decisions: the same group decides nothing twice and asks nothing again."""
    _, exit_code, asked = world.work()
    assert exit_code == 0 and asked == []
    assert {topic: len(found) for topic, found in world.read().items()} == \
        {topic: len(found) for topic, found in outcome.records.items()}


def test_a_replay_gives_the_same_decision_ids(world, outcome):
    """Another group that reads the same events: the ids are the events' own, not the run's."""
    before = world.read()
    world.work(group=GROUP + "-again")
    again = {topic: found[len(before[topic]):] for topic, found in world.read().items()}
    ids = {position: {value["decision_id"] for _, value in got} for position, got in decided(again).items()}
    assert ids == {position: {value["decision_id"] for _, value in got}
                   for position, got in outcome.decisions.items()}


def greedy(request):
    """Refunds 4,000 dollars of a smaller sum, in perfect form, with evidence; what else it proposes breaks a rule too."""
    actions = model.asked_schema(request)["properties"]["action"]["enum"]
    if "refund" in actions:
        answer = model.answer_to(request, "refund", {"amount_minor": 400_000}, evidence=["/order/status"])
    elif "ship" in actions:
        answer = model.answer_to(request, "ship")
        answer["params"]["ship"].update(carrier="express", promise_days=1)  # no warehouse has express
    elif "release" in actions:
        answer = model.answer_to(request, "release", {}, evidence=["/risk"])  # above the ceiling
    elif "cancel" in actions:
        answer = model.answer_to(request, "offer_return", {"window_days": 30})  # nothing was shipped yet
    else:
        answer = model.answer_to(request, "stop", {})  # before three attempts
    return model.completion(answer)


@pytest.mark.parametrize("answer", ["forbidden proposal", "undeclared action", "no JSON", "refusal", "length", "error"])
def test_whatever_the_model_says_the_policy_holds(world, outcome, answer):
    """A model that never gives an allowed answer: each event still has one outcome, by the fallback or by a person."""
    script = {
        "forbidden proposal": greedy,
        "undeclared action": model.proposing("refund_everything", {"amount": 400000}),
        "no JSON": lambda body: model.completion("I would simply refund the customer 4,000 dollars."),
        "refusal": lambda body: model.completion(None, refusal="I cannot help with that."),
        "length": lambda body: model.completion('{"action": "ref', finish_reason="length"),
        "error": lambda body: model.error(400, "invalid_request_error"),
    }[answer]
    before = world.read()
    _, exit_code, asked = world.work(script, group=f"{GROUP}-{answer.replace(' ', '-')}")
    got = decided({topic: found[len(before[topic]):] for topic, found in world.read().items()})
    assert exit_code == 0 and asked
    assert {position: len(of) for position, of in got.items()} == \
        {position: len(expected(name)) for name, position in outcome.positions.items()}
    for of in got.values():
        for _, decision in of:
            assert (decision["status"], decision["decided_by"]) == ("fallback", "fallback")
            assert decision["degraded_reason"] and decision["action"] != "refund_everything"
