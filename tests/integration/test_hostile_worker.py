"""Hostile text through `verdict run`: all shipped policies, a real Kafka, a real Redis, and a model that obeys the text.

Every text stands in all free places of every policy's sample event at once; our own and every third of the shared ones once
more, shortened, also where keys are made, in the record's key and in its headers; our own also far too long; every third of all
in what a tool answers. No decision is outside its policy, by a judge of the tests' own; and no part of a text is
where machines and operators look: system messages, the log, Redis keys, topic names, headers, metric labels.
"""

import dataclasses
import json
import re
import socket
import threading

import pytest

from support import deciding, hostile, model, places, records, shipped
from support.processes import wait_until
from support.producer import Producer
from support.worker import Worker

ROUND = 25  # texts at once: two events each, some three, which may share a key, and input.max_queue_per_key is 64
TEXTS = hostile.OWN + hostile.shared()
TOOLED = ("dispute", "order_change")  # these get a tool, whose answer is the texts
HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")
KEY = re.compile(rb"[A-Za-z0-9_.:%{}#@-]{1,512}")


class Monitor:
    """What a Redis is asked, as its own MONITOR tells it."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.sendall(b"MONITOR\r\n")
        assert self.socket.recv(64).startswith(b"+OK")
        self.raw = bytearray()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while chunk := self.socket.recv(1 << 16):
            self.raw += chunk

    def stop(self):
        """The commands, each a list of its arguments as bytes, as they were escaped for printing."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        return [re.findall(rb'"((?:[^"\\]|\\.)*)"', line) for line in bytes(self.raw).split(b"\r\n") if line.startswith(b"+")]


def keys_of(command):
    """The keys that a command names."""
    name = command[0].upper()
    if name in (b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO"):
        return command[3:3 + int(command[2])]
    if name in (b"GET", b"SET", b"HGET", b"HGETALL", b"HMGET", b"HSET", b"HDEL", b"LRANGE", b"ZRANGE", b"SMEMBERS", b"EXPIRE", b"EXISTS",
                b"HSETNX", b"PEXPIRE", b"GETDEL", b"SISMEMBER", b"ZSCORE", b"LLEN", b"HLEN"):
        return command[1:2]
    return command[1:] if name in (b"DEL", b"UNLINK", b"MGET") else []


# --- events -------------------------------------------------------------------------------------------------------------

def fill(event, paths_of, text):
    for path in paths_of:
        event = hostile.put(event, path, text)
    return event


@dataclasses.dataclass
class Sent:
    event: dict
    text: int    # which of TEXTS
    form: str    # long or short, or refused: too long for everything


@dataclasses.dataclass
class Outcome:
    sent: dict          # (topic, partition, offset): Sent
    found: list         # every record of the output topics
    decisions: list     # [(value, parsed policy)]
    lost: list          # where the events stand that became dead letters
    topics: set         # names of all topics afterwards
    expected: set       # and those that there should be
    asked: list         # bodies of the requests that the model got
    commands: list      # what Redis was asked
    keys: list          # what stands in Redis afterwards
    log: str
    metrics: str
    status: str
    ours: set           # strings of our own records


def materials(world):
    """[(topic, event, free places, tight ones, those of keys)], each topic's event once."""
    cases = {}
    for path in world.conf:
        event = shipped.sample(path)
        now = {"now": event["time"]} if "time" in event else {}
        cases[path] = deciding.Case(path, {"name": "sample", "event": event, "expect": {"status": "skip"}, **now})
    out = {}
    for path, control in places.controls(world.directory / "controls", cases).items():
        topic, = world.conf[path]["input"]["topics"]
        event = cases[path].body["event"]
        free, tight, keys = ({tuple(rest) for _, *rest in some} for some in (control.free(), control.tight, control.keys))
        same = topic, json.dumps(event)
        old = out.get(same, (topic, event, free, tight, keys))
        out[same] = topic, event, old[2] & free, old[3] | tight, old[4] | keys
    return list(out.values())


def publish(world, producer, material, numbers, sent):
    world.redis.client().delete(deciding.NOTES)
    world.redis.client().hset(deciding.NOTES, mapping={str(n): TEXTS[n] for n in numbers if n % 3 == 0})
    for topic, event, free, tight, keys in material:
        for n in numbers:
            text = places.short(TEXTS[n])
            bodies = {"long": fill(fill(event, free - keys, text), free - tight, TEXTS[n])}
            if n < len(hostile.OWN) or n % 3 == 0:
                bodies["short"] = fill(event, free, text)
            if n < len(hostile.OWN):
                bodies["refused"] = fill(event, free, (TEXTS[n] * 100)[:4000])
            for form, body in bodies.items():
                short, body = form == "short", deciding.just_now(body)
                headers = [(name, text.encode()) for name in ("traceparent", "tracestate", "X-Shopify-Topic", "x-note")] if short else []
                at = world.send(producer, topic, body, key=text.encode() if short else b"k", headers=headers)
                sent[at] = Sent(body, n, form)
    producer.flush()


@pytest.fixture(scope="module")
def outcome(broker, redis_shared, binary, run_dir):
    redis_shared.client().flushall()
    directory = run_dir / "hostile-worker"
    directory.mkdir()
    world = shipped.Shipped(broker, redis_shared, directory, "hostile")
    world.install(deadline_ms=60000, tooled=TOOLED)  # many wait for their key here
    material, sent = materials(world), {}
    monitor = Monitor(redis_shared)
    with model.ScriptedModel(hostile.Obedient()) as scripted:
        # Mostly fallbacks is what must come out here: no reason to stop intake.
        worker = Worker(directory, world.settings(scripted.url, log={"level": "debug"}, worker={"max_fallback_ratio": 1.0})).start()
        try:
            producer = Producer(broker.bootstrap)
            for start in range(0, len(TEXTS), ROUND):
                publish(world, producer, material, range(start, min(start + ROUND, len(TEXTS))), sent)
                wait_until(world.finished, 60, "every record is finished", worker.process, interval=0.1)
            metrics, status = worker._get("/metrics")[1], json.dumps(worker.status())
            assert worker.stop() == 0
        finally:
            worker.kill()
    found = world.read()
    names = {name for name in broker.admin().list_topics(timeout=10).topics if name.startswith(world.prefix) or "hostile" in name}
    keys = [key.encode() for key in redis_shared.client().scan_iter(count=1000)]
    expected = {world.source(topic) for topic in world.topics} | set(world.outputs.values())
    return Outcome(sent, found, world.decisions(found), world.dead_letters(found), names, expected,
                   [asked.body for asked in scripted.requests], monitor.stop(), keys, worker.log(), metrics, status, world.our_words())


@pytest.fixture(scope="module")
def nose():
    return hostile.Nose(TEXTS)


@pytest.fixture(scope="module")
def decisions(outcome):
    """[(value, Sent, parsed policy)]."""
    return [(value, outcome.sent[records.event_position(value)], conf) for value, conf in outcome.decisions]


# --- what must hold -------------------------------------------------------------------------------------------------------

def test_no_decision_is_outside_its_policy(outcome, decisions):
    outside = []
    for value, sent, conf in decisions:
        known = outcome.ours | {leaf for _, leaf in hostile.leaves(sent.event) if isinstance(leaf, str)}
        outside += [f"{value['policy_id']} text {sent.text}: {fault}" for fault in hostile.faults(conf, value, known)]
    assert outside == []


def test_each_event_has_one_outcome_for_each_policy(outcome, decisions):
    got = [(records.event_position(value), value["policy_id"]) for value, _, _ in decisions]
    assert len(got) == len(set(got))
    assert {position for position, _ in got} | set(outcome.lost) == set(outcome.sent)
    assert len(outcome.lost) > len(hostile.OWN), "what is too long for a key or its schema"


def test_the_texts_were_read_and_the_model_obeyed(outcome, decisions, nose):
    """Every text was shown for every policy, between the markers; and what the model made of it was refused, or was allowed anyway."""
    shown = {}
    for request in outcome.asked:
        system, user = request["messages"][0]["content"], request["messages"][1]["content"]
        inside, _ = hostile.untrusted(user)
        leaves = " \0 ".join(leaf for _, leaf in hostile.leaves(hostile.facts(inside)) if isinstance(leaf, str))
        shown.setdefault(system, set()).update(nose.finds(leaves))
    assert len(shown) == len(deciding.policies())
    for system, numbers in shown.items():
        assert numbers == set(range(len(TEXTS))), system[:300]
    statuses = [value["status"] for value, sent, _ in decisions if sent.form == "long"]
    assert statuses.count("fallback") > len(TEXTS)
    assert statuses.count("decided") > 0


def test_no_text_is_in_a_system_message_or_outside_the_markers(outcome, nose):
    """Of what the program says in its own name: also the reasons that it gives for a refusal."""
    said = set()
    for request in outcome.asked:
        for n, message in enumerate(request["messages"]):
            if n == 1:
                said.add(hostile.untrusted(message["content"])[1])
            elif message["role"] in ("system", "user"):
                said.add(message["content"])
    said = {re.sub("[0-9a-f]{32}", "MARKER", text) for text in said}
    assert len(said) > 2 * len(deciding.policies())
    assert [text for text in said if nose.finds(text)] == []


def test_tool_results_are_untrusted_text(outcome, nose):
    """The texts come back from the tool, cleaned, between markers of their own."""
    seen, contents = set(), set()
    for request in outcome.asked:
        for message in request["messages"]:
            if message["role"] == "tool":
                contents.add(message["content"])
    for content in contents:
        inside, around = hostile.untrusted(content) if "<<<" in content else ("", content)  # or why there is no result
        assert not nose.finds(around)
        assert not HIDDEN.search(inside), repr(HIDDEN.search(inside))
        seen |= nose.finds(inside)
    assert seen >= set(range(0, len(TEXTS), 3))


def test_what_is_shown_has_no_control_bidi_zero_width_or_tag_characters(outcome):
    for request in outcome.asked:
        inside, _ = hostile.untrusted(request["messages"][1]["content"])
        for _, leaf in hostile.leaves(hostile.facts(inside)):
            assert not isinstance(leaf, str) or not HIDDEN.search(leaf), repr(leaf)


def test_no_text_is_in_the_log(outcome, nose):
    assert len(outcome.log) > 100
    lines = [line for line in outcome.log.splitlines() if nose.finds(line)]
    assert lines == []


def test_no_text_is_in_a_key_of_redis_but_percent_encoded(outcome):
    asked = [key for command in outcome.commands if command for key in keys_of(command)]
    assert len(asked) > len(TEXTS) and outcome.keys
    for key in asked + outcome.keys:
        assert KEY.fullmatch(key), key


def test_no_text_is_in_a_topic_name_or_a_record_key_but_percent_encoded(outcome):
    assert outcome.topics == outcome.expected
    for record in outcome.found:
        if not record.topic.endswith(".dead"):  # a dead letter is the record that came, key and all
            assert KEY.fullmatch(record.key), record.key


def test_no_text_is_in_a_header(outcome, nose):
    assert len(outcome.found) > len(TEXTS)
    for record in outcome.found:
        for name, value in record.headers:
            if not record.topic.endswith(".dead") or name.startswith("verdict-"):
                assert not nose.finds(name) and not nose.finds(value), (record.topic, name, value)


def test_no_text_is_in_a_metric_or_the_status(outcome, nose):
    assert "verdict_decisions_total" in outcome.metrics
    assert not nose.finds(outcome.metrics)
    assert not nose.finds(outcome.status)


def test_rationales_are_short_and_clean(decisions):
    for value, _, _ in decisions:
        rationale = value["rationale"] or ""
        assert len(rationale) <= 500
        assert not re.search("[\x00-\x1f\x7f<>]|https?://|\u202e|\u200b", rationale), repr(rationale)


def test_the_shared_strings_were_among_the_texts():
    if not hostile.shared():
        pytest.skip(f"{hostile.INJECTIONS} is not there: only the project's own hostile texts went through the worker")
    assert len(TEXTS) > len(hostile.OWN)
