"""Hostile text through `verdict run`: all shipped policies, a real Kafka, a real Redis, and a model that obeys the text.

Every text stands in all free places of every policy's sample event at once; our own and every third of the shared ones once
more, shortened, also where keys are made, in the record's key and in its headers; every third of all in what a tool answers. No decision is outside its policy, by a judge of the tests' own; and no part of a text is
where machines and operators look: system messages, the log, Redis keys, topic names, headers, metric labels.
"""

import dataclasses
import json
import re
import shlex
import shutil
import socket
import threading
import time

import pytest

from support import deciding, hostile, libconfig, model, paths, places, records
from support.processes import wait_until
from support.producer import Producer, unique_id
from support.reader import Reader
from support.worker import Worker, settings

ROUND = 30  # texts at once: two events each, which may share a key, and input.max_queue_per_key is 64
TEXTS = hostile.OWN + hostile.shared()
TOOLED = ("dispute", "order_change")  # these get a tool, whose answer is the texts
HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")
KEY = re.compile(rb"[A-Za-z0-9_.:%{}-]{1,512}")


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

def sample(policy):
    """The policy's sample event; else the event of its first case that a model decides."""
    file = policy.with_suffix(".event.json")
    return json.loads(file.read_text()) if file.exists() else deciding.decided_by_a_model(policy).body["event"]


def just_now(event):
    return {**event, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())} if "time" in event else event


def fill(event, paths_of, text):
    for path in paths_of:
        event = hostile.put(event, path, text)
    return event


@dataclasses.dataclass
class Sent:
    event: dict
    text: int       # which of TEXTS
    policies: list  # the files of the policies that read its topic
    short: bool


@dataclasses.dataclass
class Outcome:
    sent: dict          # (topic, partition, offset): Sent
    found: list         # every record of the output topics
    topics: set         # names of all topics afterwards
    expected: set       # and those that there should be
    asked: list         # bodies of the requests that the model got
    commands: list      # what Redis was asked
    keys: list          # what stands in Redis afterwards
    log: str
    metrics: str
    status: str
    ours: set           # strings of our own records


class World:
    def __init__(self, broker, redis, directory):
        self.broker, self.redis, self.directory = broker, redis, directory
        self.prefix = unique_id("hostile")
        self.conf = {path: libconfig.loads(path.read_text()) for path in deciding.policies()}
        self.sources = sorted({topic for conf in self.conf.values() for topic in conf["input"]["topics"]})
        self.sent, self.counts = {}, dict.fromkeys(self.sources, 0)

    def install(self):
        """The policies with topics of this test's own, the topics, and the context that the policies' samples need."""
        shutil.copytree(paths.SCHEMAS, self.directory / "schemas")
        for path in self.conf:
            copy = self.directory / path.relative_to(paths.ROOT)
            if path.stem in TOOLED:
                deciding.with_a_tool(self.directory, path)
            else:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
                if path.with_suffix(".prompt.md").exists():
                    shutil.copy(path.with_suffix(".prompt.md"), copy.parent)
            text = re.sub(r"deadline_ms = \d+", "deadline_ms = 60000", copy.read_text())  # many wait for their key here
            for topic in self.sources:
                text = text.replace(f'"{topic}"', f'"{self.prefix}.{topic}"')
            copy.write_text(text)
        domains = {conf["policy"]["id"].partition(".")[0] for conf in self.conf.values()}
        self.outputs = {name: f"{self.prefix}.out.{name}" for name in (*domains, "review", "shadow", "audit", "dead")}
        self.broker.create_topics([f"{self.prefix}.{topic}" for topic in self.sources])
        self.broker.create_topics(list(self.outputs.values()))
        ours = set()
        for path in self.conf:
            loader = path.with_suffix(".context.redis")
            for line in loader.read_text().splitlines() if loader.exists() else []:
                words = shlex.split(line)
                self.redis.client().execute_command(*words)
                ours |= set(words) | {word for text in words for word in re.findall(r'[^"\\{}\[\],:]+', text)}
            ours |= set(re.findall(r"'([^']*)'", path.read_text()))
        return ours

    def settings(self, url):
        output = {"prefix": f"{self.prefix}.out", "review": self.outputs["review"], "shadow": self.outputs["shadow"],
                  "audit": self.outputs["audit"], "dead_letter": self.outputs["dead"]}
        return settings(self.broker.bootstrap, self.redis.address, url,
                        [{"name": f"{self.prefix}.{topic}", "format": "json"} for topic in self.sources],
                        policies=self.directory / "policies", group=self.prefix, output=output, log={"level": "debug"},
                        worker={"max_fallback_ratio": 1.0})  # mostly fallbacks is what must come out here

    def materials(self):
        """[(topic, event, policies, free places, tight ones, those of keys)], each topic's event once."""
        cases = {}
        for path in self.conf:
            event = sample(path)
            now = {"now": event["time"]} if "time" in event else {}
            cases[path] = deciding.Case(path, {"name": "sample", "event": event, "expect": {"status": "skip"}, **now})
        controls = places.controls(self.directory / "controls", cases)
        out = {}
        for path, control in controls.items():
            topic, = self.conf[path]["input"]["topics"]
            event = cases[path].body["event"]
            free, tight, keys = ({tuple(rest) for _, *rest in some} for some in (control.free(), control.tight, control.keys))
            same = topic, json.dumps(event)
            old = out.get(same, (topic, event, [], free, tight, keys))
            out[same] = topic, event, old[2] + [path], old[3] & free, old[4] | tight, old[5] | keys
        return list(out.values())

    def publish(self, producer, materials, numbers):
        self.redis.client().delete(deciding.NOTES)
        self.redis.client().hset(deciding.NOTES, mapping={str(n): TEXTS[n] for n in numbers if n % 3 == 0})
        for topic, event, policies, free, tight, keys in materials:
            for n in numbers:
                text = places.short(TEXTS[n])
                for short in (False, True) if n < len(hostile.OWN) or n % 3 == 0 else (False,):
                    body = just_now(fill(event, free, text) if short else fill(fill(event, free - keys, text), free - tight, TEXTS[n]))
                    headers = [(name, text.encode()) for name in ("traceparent", "tracestate", "X-Shopify-Topic", "x-note")] if short else []
                    producer.send(f"{self.prefix}.{topic}", body, key=text.encode() if short else b"k", headers=headers)
                    self.sent[f"{self.prefix}.{topic}", 0, self.counts[topic]] = Sent(body, n, policies, short)
                    self.counts[topic] += 1
        producer.flush()

    def finished(self):
        return all(self.broker.committed(self.prefix, f"{self.prefix}.{topic}")[0] == count
                   for topic, count in self.counts.items() if count)


@pytest.fixture(scope="module")
def outcome(broker, redis_shared, binary, run_dir):
    redis_shared.client().flushall()
    world = World(broker, redis_shared, run_dir / "hostile-worker")
    world.directory.mkdir()
    ours = world.install()
    materials = world.materials()
    monitor = Monitor(redis_shared)
    with model.ScriptedModel(hostile.Obedient()) as scripted:
        worker = Worker(world.directory, world.settings(scripted.url)).start()
        try:
            producer = Producer(broker.bootstrap)
            for start in range(0, len(TEXTS), ROUND):
                world.publish(producer, materials, range(start, min(start + ROUND, len(TEXTS))))
                wait_until(world.finished, 60, "every record is finished", worker.process, interval=0.1)
            metrics, status = worker._get("/metrics")[1], json.dumps(worker.status())
            assert worker.stop() == 0
        finally:
            worker.kill()
    with Reader(broker.bootstrap, list(world.outputs.values())) as reader:
        found = list(reader.drain())
    names = {name for name in broker.admin().list_topics(timeout=10).topics if name.startswith(world.prefix) or "hostile" in name}
    keys = [key.encode() for key in redis_shared.client().scan_iter(count=1000)]
    expected = {f"{world.prefix}.{topic}" for topic in world.sources} | set(world.outputs.values())
    return Outcome(world.sent, found, names, expected, [asked.body for asked in scripted.requests], monitor.stop(), keys,
                   worker.log(), metrics, status, ours)


@pytest.fixture(scope="module")
def nose():
    return hostile.Nose(TEXTS)


@pytest.fixture(scope="module")
def decisions(outcome):
    """[(value, Sent, parsed policy)] of every decision, review and shadow record."""
    confs = {conf["policy"]["id"]: conf for conf in (libconfig.loads(path.read_text()) for path in deciding.policies())}
    values = [records.check_decision(record) for record in outcome.found if not record.topic.endswith((".audit", ".dead"))]
    return [(value, outcome.sent[records.event_position(value)], confs[value["policy_id"]]) for value in values]


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
    letters = [records.dead_letter_position(records.check_dead_letter(record)) for record in outcome.found if record.topic.endswith(".dead")]
    seen = {position for position, _ in got} | set(letters)
    assert seen == set(outcome.sent)


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
    statuses = [value["status"] for value, sent, _ in decisions if not sent.short]
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
