"""Judges a run from the outside: only what an independent read_committed reader sees of inputs and outputs.

An outcome names its source as "topic/partition/offset" at the start of its value (copy_worker) or in its JSON (verdict).
"""

import collections
import dataclasses
import json
import time

import confluent_kafka


@dataclasses.dataclass
class Verdict:
    inputs: int = 0
    outcomes: int = 0
    duplicated: list = dataclasses.field(default_factory=list)
    lost: list = dataclasses.field(default_factory=list)
    invented: list = dataclasses.field(default_factory=list)
    out_of_order: list = dataclasses.field(default_factory=list)
    unfinished: list = dataclasses.field(default_factory=list)

    def faults(self):
        return {name: len(getattr(self, name)) for name in ("duplicated", "lost", "invented", "out_of_order", "unfinished")}

    def clean(self):
        return not any(self.faults().values())


def source_of(value):
    if value.startswith(b"{"):
        event = json.loads(value)["event"]
        return f"{event['topic']}/{event['partition']}/{event['offset']}"
    return value.split(b" ", 1)[0].decode()


class Watcher:
    """Reads a topic from its start to its end, again and again, and remembers when something came."""

    def __init__(self, bootstrap, topics):
        self.records = []  # (topic, partition, offset, key, value)
        self.last_mono = time.monotonic()
        self.longest_gap_s = 0.0
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
        self.longest_gap_s = max(self.longest_gap_s, now - self.last_mono)
        self.last_mono = now
        self.records.append((*where, msg.offset(), msg.key(), msg.value()))

    def drain(self, timeout):
        """To the end of everything, and half a second more."""
        deadline, quiet = time.monotonic() + timeout, 0
        while time.monotonic() < deadline and quiet < 10:
            before = len(self.records)
            self.poll(0.05)
            quiet = quiet + 1 if len(self.records) == before and all(self._end.values()) else 0
        return self.records

    def close(self):
        self._consumer.close()


def judge(inputs, outcomes, compacted=(), ever=None):
    """inputs, outcomes: a Watcher's records. compacted: topics whose records may have vanished since they were consumed.
    ever: {topic: positions} of all that was ever in them."""
    result = Verdict(inputs=len(inputs), outcomes=len(outcomes))
    expected = {f"{t}/{p}/{o}" for t, p, o, _, _ in inputs}
    seen = collections.Counter()
    last = {}
    for _, _, _, key, value in outcomes:
        source = source_of(value)
        seen[source] += 1
        topic, partition, offset = source.rsplit("/", 2)
        where = topic, partition, key
        if seen[source] == 1 and last.get(where, -1) > int(offset):
            result.out_of_order.append(source)
        last[where] = max(last.get(where, -1), int(offset))
    result.duplicated = sorted(s for s, n in seen.items() if n > 1)
    result.lost = sorted(expected - set(seen))
    for source in set(seen) - expected:
        topic = source.rsplit("/", 2)[0]
        if topic not in compacted or source not in (ever or {}).get(topic, ()):
            result.invented.append(source)
    return result
