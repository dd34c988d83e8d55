"""Bad input: each record is one dead letter with the original bytes and a reason, or the outcome named here.

All records go through one worker in one run, each bad one between good ones of the same partition: what stopped the
partition, or was lost, would be seen by the records behind it. Real Kafka, real Redis, a scripted model.
"""

import dataclasses
import hashlib
import json
import re
import struct

import pytest

from support import libconfig, model, records
from support.processes import wait_until
from support.producer import Producer, cloudevent, cloudevent_headers, unique_id
from support.reader import Reader
from support.redis_server import RedisServer
from support.worker import Worker, settings

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z (error|warn|info|debug) [a-z_.]+"
                      r"( [a-z_]+=(\"([^\"\\]|\\.)*\"|\S+))*\Z")

LARGE = 5_000_000
DEAD_LETTER_MAX = 1_048_588  # Kafka's default max.message.bytes, which the dead-letter topic has

# One policy for each way to fail behind the decoder; a type of event reaches only its own policy.
SCHEMAS = {
    "events/placed.json": {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["data"],
        "properties": {"data": {"type": "object", "required": ["customer", "amount"],
                                "properties": {"amount": {"type": "integer", "minimum": 1}}}}},
    "context/profile.json": {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["orders"],
        "properties": {"orders": {"type": "integer"}, "name": {"type": "string"}}},
}


def policy(name, topics, when, key="{event.data.customer}", **groups):
    base = {
        "policy": {"id": f"bad.{name}", "version": 1, "mode": "enforce"},
        "input": {"topics": topics, "when": when, "key": key},
        "reasoning": {"goal": "Decide what to do with the order.", "show": ["/event/data/amount"]},
        "actions": {"ship": {}, "hold": {}},
        "fallback": {"action": "hold"},
    }
    for group, content in groups.items():
        base[group] = {**base.get(group, {}), **content}
    return libconfig.dumps(base)


def policies(plain, events):
    profile = {"redis": "HGETALL profile:{event.data.customer}", "schema": "context/profile.json", "required": True}
    return {
        "placed.cfg": policy("placed", [plain, events], "event.type == 'order.placed'",
                             input={"schema": "events/placed.json"}),
        "context.cfg": policy("context", [plain], "event.type == 'order.known'", context={"profile": profile}),
        "when.cfg": policy("when", [plain], "event.type == 'order.compared' && event.data.amount > 10"),
        "key.cfg": policy("key", [plain], "event.type == 'order.keyed'", context={
            "note": {"redis": "GET note:{event.data.customer}"}}),
    }


# --- the cases ----------------------------------------------------------------------------------------------------

def event(event_type="order.placed", event_id="e-1", **data):
    return {"id": event_id, "type": event_type, "data": {"customer": "c1", "amount": 5, **data}}


def text(event_type="order.placed", **data):
    return json.dumps(event(event_type, **data)).encode()


def avro(schema_id=7):
    """Confluent's wire format: a zero, the schema's id, then Avro: the string "cust" and the number 5."""
    return struct.pack(">bI", 0, schema_id) + b"\x08cust\x0a"


def protobuf():
    """The same with Protobuf: after the id a list of message indexes, then field 1, a string."""
    return struct.pack(">bI", 0, 8) + b"\x00\x0a\x04cust"


def without(name):
    """A structured CloudEvent that lacks an attribute."""
    envelope = json.loads(cloudevent("1", "order.placed", {"customer": "c1", "amount": 5})[0])
    del envelope[name]
    return json.dumps(envelope).encode()


@dataclasses.dataclass(frozen=True)
class Dead:
    """A record that must become a dead letter."""

    name: str
    value: bytes
    stage: str
    reason: str            # words that the reason must have, for the person who reads it
    headers: tuple = ()
    key: bytes = b"k"
    policy: str = ""
    topic: str = "plain"


@dataclasses.dataclass(frozen=True)
class Skip:
    name: str
    value: bytes
    reason: str            # label of the metric
    headers: tuple = ()
    key: bytes = b"k"
    topic: str = "plain"


@dataclasses.dataclass(frozen=True)
class Decided:
    """Looks bad and is not."""

    name: str
    value: bytes
    policy: str
    policy_key: str
    headers: tuple = ()
    key: bytes = b"k"
    topic: str = "plain"


STRUCTURED = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
HOSTILE = "c1\r\nDEL sentinel\r\n*:{x}../\u202e"
HOSTILE_ENCODED = "c1%0D%0ADEL%20sentinel%0D%0A%2A%3A%7Bx%7D..%2F%E2%80%AE"

DEAD = [
    Dead("not JSON", b"<order><id>1</id></order>", "decode", "line 1, column 1: not a value"),
    Dead("an empty value", b"", "decode", "ends too early"),
    Dead("truncated", text()[:-9], "decode", "ends too early"),
    Dead("something behind the JSON", text() + b" {}", "decode", "something follows"),
    Dead("bad UTF-8", text().replace(b"c1", b"c\xff\xfe1"), "decode", "UTF-8"),
    Dead("half a surrogate pair", text().replace(b"c1", b"\\ud800"), "decode", "surrogate"),
    Dead("10,000 levels deep", b'{"type":"order.placed","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
         "decode", "deep"),
    Dead("a number that is no JSON", text().replace(b"5", b"NaN"), "decode", "not a value"),
    Dead("duplicate names", text().replace(b'"amount": 5', b'"amount": 5, "amount": 500'), "decode", "twice"),
    Dead("duplicate names, one of them escaped",
         text().replace(b'"amount": 5', b'"amount": 5, "\\u0061mount": 500'), "decode", "twice"),
    Dead("Confluent-framed Avro", avro(), "decode", "Avro"),
    Dead("Confluent-framed Protobuf", protobuf(), "decode", "Protobuf"),
    Dead("a schema violation", text(amount="5"), "validate", "/data/amount", policy="bad.placed"),
    Dead("a field that the schema requires", text(amount=None).replace(b', "amount": null', b""), "validate",
         "amount", policy="bad.placed"),
    Dead("an error in when", text("order.compared").replace(b', "amount": 5', b""), "route", "amount",
         policy="bad.when"),
    Dead("a type error in when", text("order.compared", amount="many"), "route", "input.when", policy="bad.when"),
    Dead("required context that is absent", text("order.known", customer="nobody"), "context", "profile",
         policy="bad.context"),
    Dead("context that its schema refuses", text("order.known", customer="broken"), "context", "orders",
         policy="bad.context"),
    Dead("context of another Redis type", text("order.known", customer="wrongtype"), "context", "WRONGTYPE",
         policy="bad.context"),
    Dead("a template value that is empty", text("order.keyed", customer=""), "key", "empty", policy="bad.key"),
    Dead("a template value of 129 bytes", text("order.keyed", customer="x" * 129), "key", "128", policy="bad.key"),
    Dead("a template value that is not there", text("order.keyed").replace(b'"customer": "c1", ', b""), "key",
         "customer", policy="bad.key"),
    Dead("a template value that is no scalar", text("order.keyed", customer={"a": 1}), "key", "key",
         policy="bad.key"),
    *(Dead(f"a structured CloudEvent without {name}", without(name), "decode", name, STRUCTURED, topic="events")
      for name in ("id", "source", "specversion", "type")),
    *(Dead(f"a binary CloudEvent without {name}", b'{"customer":"c1","amount":5}', "decode", name,
           tuple(header for header in cloudevent_headers("1", "order.placed") if header[0] != f"ce_{name}"),
           topic="events")
      for name in ("id", "source", "specversion", "type")),
    Dead("plain JSON where CloudEvents are due", text(), "decode", "CloudEvent", topic="events"),
    Dead("a CloudEvent of another version", b"{}", "decode", "specversion",
         tuple(cloudevent_headers("1", "order.placed", specversion="0.3")), topic="events"),
    Dead("a CloudEvent with data that is no JSON", b"<a/>", "decode", "xml",
         tuple(cloudevent_headers("1", "order.placed", content_type="application/xml")), topic="events"),
    Dead("a batch of CloudEvents", b"[]", "decode", "batch",
         (("content-type", b"application/cloudevents-batch+json"),), topic="events"),
    Dead("bytes in key and headers that are no text", b"\x80", "decode", "", (("h", b"\xff\x00"), ("h", b"2")),
         key=b"\x00\xfe"),
    Dead("no key at all", b"{", "decode", "ends too early", key=None),
]
LARGE_CASE = Dead("a value of 5 MB", b'{"type":"order.placed","data":{"customer":"' + b"x" * LARGE + b'"}}',
                  "decode", "bytes", (("h", b"v"),))
SKIPS = [
    Skip("an unknown event type", text("nobody.cares"), "no_policy"),
    Skip("an event without a type", b'{"data": {"customer": "c1"}}', "no_policy"),
    Skip("JSON that is no object", b"[1, 2, 3]", "no_policy"),
    Skip("a null value", None, "null_value"),
    Skip("a null value, without a key", None, "null_value", key=None),
    Skip("a null value that says it is a CloudEvent", None, "null_value",
         tuple(cloudevent_headers("1", "order.placed")), topic="events"),
]
DECIDED = [
    Decided("no Kafka key", text(), "bad.placed", "c1", key=None),
    Decided("a hostile template value", text("order.keyed", customer=HOSTILE), "bad.key", HOSTILE_ENCODED),
    Decided("a template value of 128 bytes", text("order.keyed", customer="y" * 128), "bad.key", "y" * 128),
    Decided("a number as template value", text("order.keyed", customer=42), "bad.key", "42"),
    Decided("Confluent-framed JSON", struct.pack(">bI", 0, 9) + text(), "bad.placed", "c1"),
    Decided("a byte order of names nobody expected", b'{"data":{"amount":5,"customer":"c1"},"type":"order.placed"}',
            "bad.placed", "c1"),
    Decided("a structured CloudEvent in a topic of plain JSON",
            cloudevent("s-1", "order.placed", {"customer": "c2", "amount": 1})[0], "bad.placed", "c2", STRUCTURED),
    Decided("a structured CloudEvent", cloudevent("s-2", "order.placed", {"customer": "c3", "amount": 1})[0],
            "bad.placed", "c3", STRUCTURED, topic="events"),
    Decided("a binary CloudEvent", b'{"customer":"c4","amount":1}', "bad.placed", "c4",
            tuple(cloudevent_headers("b-1", "order.placed")), topic="events"),
    Decided("known context", text("order.known", customer="known"), "bad.context", "known"),
]


def good(topic, number):
    """An ordinary event to stand between the others."""
    if topic == "events":
        value, headers = cloudevent(f"g-{number}", "order.placed", {"customer": f"g{number}", "amount": 1})
        return value, headers
    return json.dumps(event(event_id=f"g-{number}", customer=f"g{number}")).encode(), []


# --- one run for all of them --------------------------------------------------------------------------------------

@dataclasses.dataclass
class Run:
    positions: dict      # case name: where its record stands
    good: dict           # position of a good event: its policy key
    dead: dict           # position: [dead letter]
    decisions: dict      # position: [decision]
    audits: dict         # decision id: [audit record]
    metrics: dict        # (name, labels): value, at the end
    log: str
    committed: dict
    ends: dict
    exit_code: int
    sentinel: str


def _by(items, key):
    out = {}
    for item in items:
        out.setdefault(key(item), []).append(item)
    return out


@pytest.fixture(scope="module")
def run(broker, binary, run_dir):
    directory = run_dir / "bad-input"
    prefix = unique_id("bad")
    names = {name: f"{prefix}.{name}" for name in
             ("plain", "events", "decisions", "review", "shadow", "audit", "dead-letter")}
    decisions = names["decisions"] + ".orders"
    outputs = [decisions, names["review"], names["shadow"], names["audit"], names["dead-letter"]]
    broker.create_topics([names["plain"], names["events"]], config={"max.message.bytes": LARGE + 100_000})
    broker.create_topics(outputs)
    for name, content in policies(names["plain"], names["events"]).items():
        folder = directory / "policies" / "orders"  # the domain, and so the topic
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    for name, schema in SCHEMAS.items():
        (directory / "schemas" / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / "schemas" / name).write_text(json.dumps(schema))

    server = RedisServer(directory / "redis").start()
    redis = server.client()
    redis.set("sentinel", "untouched")
    redis.hset("profile:known", mapping={"orders": "3", "name": "Known"})
    redis.hset("profile:broken", mapping={"orders": "three"})
    redis.set("profile:wrongtype", "a string")

    positions, good_ones = _publish(broker, names)
    conf = settings(
        broker.bootstrap, server.address, None,
        [{"name": names["plain"], "format": "json"}, {"name": names["events"], "format": "cloudevents"}],
        policies=directory / "policies", group=prefix,
        output={"prefix": names["decisions"], "review": names["review"], "shadow": names["shadow"],
                "audit": names["audit"], "dead_letter": names["dead-letter"]})
    with model.ScriptedModel() as scripted, Reader(broker.bootstrap, outputs) as reader:
        conf["models"]["main"]["url"] = scripted.url
        worker = Worker(directory, conf).start()
        try:
            ends = {topic: broker.end_offsets(topic) for topic in (names["plain"], names["events"])}
            committed = {}

            def finished():
                committed.update({topic: broker.committed(prefix, topic) for topic in ends})
                return committed == ends

            wait_until(finished, 60, f"every record of {ends} is finished", worker.process, interval=0.2)
            reader.drain()
            metrics = worker.metrics()
            exit_code = worker.stop()
            reader.drain()
        finally:
            worker.kill()
            sentinel = redis.get("sentinel")
            server.kill()
    return Run(
        positions, good_ones,
        dead=_by(reader.of(names["dead-letter"]),
                 lambda r: records.dead_letter_position(records.check_dead_letter(r))),
        decisions=_by(map(records.check_decision, reader.of(decisions)),
                      records.event_position),
        audits=_by(map(records.check_audit, reader.of(names["audit"])), lambda a: a["decision_id"]),
        metrics=metrics, log=worker.log(), committed=committed, ends=ends, exit_code=exit_code, sentinel=sentinel)


def _publish(broker, names):
    """All cases in one partition of each topic, a good event behind every one."""
    producer = Producer(broker.bootstrap)
    positions, good_ones = {}, {}
    for number, case in enumerate([*DEAD, LARGE_CASE, *SKIPS, *DECIDED]):
        topic = names[case.topic]
        positions[case.name] = producer.send_one(topic, case.value, key=case.key, headers=list(case.headers),
                                                 partition=0)
        value, headers = good(case.topic, number)
        good_ones[producer.send_one(topic, value, key=b"k", headers=headers, partition=0)] = f"g{number}"
    assert len(positions) == len(DEAD) + 1 + len(SKIPS) + len(DECIDED), "two cases have one name"
    return positions, good_ones


def _named(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name.replace(" ", "-"))


# --- what must hold -----------------------------------------------------------------------------------------------

@_named(DEAD)
def test_is_a_dead_letter(run, case):
    position = run.positions[case.name]
    letter, = run.dead.get(position, [None])
    assert letter is not None, "no dead letter"
    assert position not in run.decisions
    assert (letter.value, letter.key) == (case.value, case.key)
    assert [h for h in letter.headers if not h[0].startswith("verdict-")] == list(case.headers)
    own = records.check_dead_letter(letter)
    assert own["stage"] == case.stage, own["reason"]
    assert own["policy"] == case.policy
    assert case.reason.lower() in own["reason"].lower()
    assert "truncated" not in own


def test_a_dead_letter_too_large_keeps_a_prefix_and_says_so(run):
    letter, = run.dead[run.positions[LARGE_CASE.name]]
    own = records.check_dead_letter(letter)
    assert own["stage"] == "decode" and str(len(LARGE_CASE.value)) in own["reason"]
    assert own["truncated"] == "true"
    assert own["value-bytes"] == str(len(LARGE_CASE.value))
    assert own["value-sha256"] == hashlib.sha256(LARGE_CASE.value).hexdigest()
    assert 1000 < len(letter.value) < DEAD_LETTER_MAX and LARGE_CASE.value.startswith(letter.value)
    assert letter.header("h") == "v" and letter.key == LARGE_CASE.key


@_named(SKIPS)
def test_is_skipped(run, case):
    position = run.positions[case.name]
    assert position not in run.dead and position not in run.decisions


@pytest.mark.parametrize("reason", sorted({case.reason for case in SKIPS}))
def test_skips_are_counted(run, reason):
    counted = run.metrics["verdict_events_skipped_total", (("reason", reason),)]
    assert counted == len([case for case in SKIPS if case.reason == reason])


@_named(DECIDED)
def test_is_decided(run, case):
    decision, = run.decisions.get(run.positions[case.name], [None])
    assert decision is not None, [records.check_dead_letter(d) for d in run.dead.get(run.positions[case.name], [])]
    assert run.positions[case.name] not in run.dead
    assert (decision["policy_id"], decision["key"]) == (case.policy, case.policy_key)
    assert (decision["status"], decision["decided_by"]) == ("decided", "model")


def test_nothing_behind_bad_input_is_lost(run):
    """Each good event between the bad ones has exactly one decision, with its own key."""
    found = {position: [d["key"] for d in run.decisions.get(position, [])] for position in run.good}
    assert found == {position: [key] for position, key in run.good.items()}


def test_there_is_nothing_that_has_no_input(run):
    known = set(run.positions.values()) | set(run.good)
    assert set(run.dead) <= known and set(run.decisions) <= known
    assert len(run.dead) == len(DEAD) + 1
    assert len(run.decisions) == len(run.good) + len(DECIDED)
    assert all(len(of) == 1 for of in [*run.dead.values(), *run.decisions.values()])


def test_every_decision_has_one_audit_record(run):
    ids = {decision["decision_id"] for of in run.decisions.values() for decision in of}
    assert {audit: len(of) for audit, of in run.audits.items()} == dict.fromkeys(ids, 1)


def test_dead_letters_are_counted_by_stage(run):
    expected = {}
    for case in [*DEAD, LARGE_CASE]:
        expected[case.stage] = expected.get(case.stage, 0) + 1
    counted = {dict(labels)["stage"]: value for (name, labels), value in run.metrics.items()
               if name == "verdict_dead_letters_total" and value}
    assert counted == expected


def test_every_record_is_finished_and_the_worker_leaves_well(run):
    assert run.committed == run.ends
    assert run.exit_code == 0


def test_hostile_values_reach_redis_only_as_text(run):
    assert run.sentinel == "untouched"


def test_the_log_has_no_payloads(run):
    for text_of_events in ("DEL", "sentinel", "xxxxxxxxxx", "yyyyyyyyyy", "<order>", "e-1", "many", "nobody"):
        assert text_of_events not in run.log
    first, *lines = run.log.splitlines()  # the first one is the command line
    assert lines and all(LOG_LINE.match(line) for line in lines), "a line of the log is broken"
