"""Judges a run from the outside: only what an independent read_committed reader sees of inputs and outputs.

The unit is a pair of a source record and a policy. What each input must lead to is computed here from the input alone,
by rules that are written down beside the test policies (deciding.py), never by asking a worker.
"""

import collections
import dataclasses
import time

import confluent_kafka

GAP_S = 1.0  # shorter ones are not kept
FAULTS = ("duplicated", "lost", "invented", "out_of_order", "wrong_kind", "audit_mismatch", "unfinished", "crashed")


@dataclasses.dataclass(frozen=True)
class Outcome:
    source: tuple      # (topic, partition, offset) of the record that led to it
    policy: str        # "" when no policy could be blamed
    kind: str          # which sort of topic it was published to
    key: bytes         # what outcomes are ordered by; None for those that have no order
    where: tuple       # (topic, partition) it was published to
    seen_s: float = 0  # wall clock when the reader had it
    id: str = ""       # decision id, where there is one


@dataclasses.dataclass(frozen=True)
class Input:
    source: tuple
    key: bytes
    value: bytes
    written_s: float = 0  # wall clock of the log


@dataclasses.dataclass
class Verdict:
    inputs: int = 0
    outcomes: int = 0
    pairs: int = 0
    duplicated: list = dataclasses.field(default_factory=list)
    lost: list = dataclasses.field(default_factory=list)
    invented: list = dataclasses.field(default_factory=list)
    out_of_order: list = dataclasses.field(default_factory=list)
    wrong_kind: list = dataclasses.field(default_factory=list)
    audit_mismatch: list = dataclasses.field(default_factory=list)
    unfinished: list = dataclasses.field(default_factory=list)
    crashed: list = dataclasses.field(default_factory=list)

    def faults(self):
        return {name: len(getattr(self, name)) for name in FAULTS}

    def clean(self):
        return not any(self.faults().values())


class Watcher:
    """Reads topics from their start to their end, again and again; read(msg) says what to keep, None for nothing."""

    def __init__(self, bootstrap, topics, read):
        self.items = []
        self.last_mono = time.monotonic()
        self.gaps = []  # (from, to), monotonic: nothing came in between
        self._read = read
        self._end = {}
        self._consumer = confluent_kafka.Consumer({
            "bootstrap.servers": bootstrap, "group.id": "chaos-watcher", "enable.auto.commit": False,
            "auto.offset.reset": "error", "isolation.level": "read_committed", "enable.partition.eof": True,
            "fetch.wait.max.ms": 50, "reconnect.backoff.max.ms": 500, "log_level": 0})
        for topic in topics:
            for partition in self._consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                self._end[topic, partition] = False
        self._consumer.assign([confluent_kafka.TopicPartition(t, p, confluent_kafka.OFFSET_BEGINNING) for t, p in self._end])

    def poll(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for msg in self._consumer.consume(500, timeout=0.05):
                self._take(msg)

    def _take(self, msg):
        where = msg.topic(), msg.partition()
        if msg.error():
            if msg.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                self._end[where] = True
            return
        self._end[where] = False
        now = time.monotonic()
        if now - self.last_mono > GAP_S:
            self.gaps.append((self.last_mono, now))
        self.last_mono = now
        item = self._read(msg)
        if item is not None:
            self.items.append(item)

    def drain(self, timeout):
        """To the end of everything, and half a second more."""
        deadline, quiet = time.monotonic() + timeout, 0
        while time.monotonic() < deadline and quiet < 10:
            before = len(self.items)
            self.poll(0.05)
            quiet = quiet + 1 if len(self.items) == before and all(self._end.values()) else 0
        assert quiet, f"an end was not reached within {timeout} s: {[w for w, end in self._end.items() if not end]}"
        return self.items

    def close(self):
        self._consumer.close()


def read_input(msg):
    return Input((msg.topic(), msg.partition(), msg.offset()), msg.key(), msg.value(), msg.timestamp()[1] / 1000)


def duplicated(outcomes):
    """The pairs that have more than one outcome."""
    seen = collections.Counter((o.source, o.policy) for o in outcomes)
    return [pair for pair, n in seen.items() if n > 1]


def judge(inputs, outcomes, expect, vanished=()):
    """expect(value) is {policy: kind} of one input. vanished: inputs that compaction may have taken away after they were
    consumed; their outcomes are allowed, and not required."""
    result = Verdict(inputs=len(inputs), outcomes=len(outcomes))
    required = {(i.source, policy): kind for i in inputs for policy, kind in expect(i.value).items()}
    allowed = {(i.source, policy): kind for i in vanished for policy, kind in expect(i.value).items()} | required
    result.pairs = len(required)
    seen, last, home = set(), {}, {}
    for o in outcomes:
        pair = o.source, o.policy
        if pair not in allowed:
            result.invented.append(pair)
        elif allowed[pair] != o.kind:
            result.wrong_kind.append((pair, o.kind))
        line = *o.source[:2], o.policy, o.kind, o.key
        if o.key is not None and pair not in seen and last.get(line, -1) > o.source[2]:
            result.out_of_order.append(pair)
        # Order is order within one partition: a key that moves has none.
        if o.key is not None and home.setdefault((o.where[0], o.key), o.where) != o.where:
            result.out_of_order.append((pair, home[o.where[0], o.key], o.where))
        last[line] = max(last.get(line, -1), o.source[2])
        seen.add(pair)
    result.duplicated = duplicated(outcomes)
    result.lost = sorted(required.keys() - seen)
    return result


def waits(inputs, outcomes):
    """Seconds from an input's place in its log to its outcome, sorted."""
    written = {i.source: i.written_s for i in inputs}
    return sorted(o.seen_s - written[o.source] for o in outcomes if o.source in written)
