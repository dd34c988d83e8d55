"""An independent read_committed consumer: it sees what the data teams that consume decisions would see.

It joins no group that matters and commits nothing. Each partition is read from its start, so nothing that was ever
published in a topic can be missed by starting late.
"""

import dataclasses
import json
import time

import confluent_kafka

from .processes import Timeout


@dataclasses.dataclass(frozen=True)
class Record:
    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: tuple  # ((name, bytes), ...) in order, repeats included
    timestamp_ms: int

    def json(self):
        return json.loads(self.value)

    def header(self, name):
        """The header's value as text, None when absent. A header that is there twice is a mistake."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"header {name} stands {len(values)} times"
        return values[0].decode() if values else None

    @property
    def position(self):
        return self.topic, self.partition, self.offset


class Reader:
    """Collects records of some topics. `records` holds all of them, in order within each partition."""

    def __init__(self, bootstrap, topics, isolation="read_committed"):
        self.records = []
        self._at_end = {}
        self._consumer = confluent_kafka.Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": "verdict-tests-reader",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "fetch.message.max.bytes": 20_000_000,
            "fetch.wait.max.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        })
        # One topic a request: asked without a name, librdkafka 2.0.2 answers from its cache.
        for topic in topics:
            for partition in self._consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                self._at_end[topic, partition] = False
        self._consumer.assign([confluent_kafka.TopicPartition(t, p, confluent_kafka.OFFSET_BEGINNING)
                               for t, p in self._at_end])

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self._consumer.close()

    def _poll(self, timeout):
        """True when a record came."""
        msg = self._consumer.poll(timeout)
        if msg is None:
            return False
        if msg.error():
            if msg.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                self._at_end[msg.topic(), msg.partition()] = True
                return False
            if msg.error().fatal() or msg.error().code() == confluent_kafka.KafkaError._AUTO_OFFSET_RESET:
                raise AssertionError(f"reader: {msg.error()}")
            return False  # a broker that is away: librdkafka comes back by itself
        self._at_end[msg.topic(), msg.partition()] = False
        self.records.append(Record(msg.topic(), msg.partition(), msg.offset(), msg.key(), msg.value(),
                                   tuple(msg.headers() or ()), msg.timestamp()[1]))
        return True

    def until(self, predicate, timeout, what=None):
        """Reads until predicate(records) is true; returns all records so far."""
        deadline = time.monotonic() + timeout
        while not predicate(self.records):
            if time.monotonic() > deadline:
                raise Timeout(f"not within {timeout} s: {what or 'the expected records'}; "
                              f"{len(self.records)} came: {[r.position for r in self.records][-10:]}")
            self._poll(0.05)
        return self.records

    def count(self, number, timeout, topic=None):
        """Reads until there are at least `number` records (of one topic)."""
        return self.until(lambda records: len([r for r in records if topic in (None, r.topic)]) >= number, timeout,
                          f"{number} records" + (f" of {topic}" if topic else ""))

    def drain(self, idle_s=0.5, timeout=30):
        """Reads to the end of every partition, then on until nothing came for idle_s; returns all records."""
        deadline = time.monotonic() + timeout
        quiet_since = time.monotonic()
        while time.monotonic() < deadline:
            if self._poll(0.05):
                quiet_since = time.monotonic()
            elif all(self._at_end.values()) and time.monotonic() - quiet_since >= idle_s:
                return self.records
        raise Timeout(f"still records coming, or an end not reached, after {timeout} s: {self._at_end}")

    def of(self, topic):
        return [record for record in self.records if record.topic == topic]
