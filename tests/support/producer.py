"""Puts events into topics. Whatever was not delivered is an exception, never a lost test event."""

import contextlib
import json
import uuid

import confluent_kafka

FLUSH_TIMEOUT_S = 30


def cloudevent_headers(event_id, event_type, source="/tests", content_type="application/json", **attributes):
    """CloudEvents in binary mode: attributes in ce_ headers, the data alone in the value."""
    given = {"specversion": "1.0", "id": event_id, "type": event_type, "source": source, **attributes}
    headers = [(f"ce_{name}", str(value).encode()) for name, value in given.items() if value is not None]
    return headers + [("content-type", content_type.encode())]


def cloudevent(event_id, event_type, data, source="/tests", **attributes):
    """CloudEvents in structured mode: (value, headers)."""
    envelope = {"specversion": "1.0", "id": event_id, "type": event_type, "source": source,
                "datacontenttype": "application/json", **attributes, "data": data}
    return json.dumps(envelope).encode(), [("content-type", b"application/cloudevents+json; charset=UTF-8")]


class Producer:
    """Idempotent; transactional as soon as transaction() is used."""

    def __init__(self, bootstrap, transactional_id=None, config=None):
        self._failed = []
        self._delivered = []
        self._transactional = transactional_id is not None
        self._producer = confluent_kafka.Producer({
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 5,
            # Keys land on the partitions where a Java producer puts them.
            "partitioner": "murmur2_random",
            # The tests send what a broker is configured to take, not what librdkafka's default (1 MB) lets through.
            "message.max.bytes": 20_000_000,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
            **({"transactional.id": transactional_id} if self._transactional else {}),
            **(config or {}),
        })
        if self._transactional:
            self._producer.init_transactions(FLUSH_TIMEOUT_S)

    def send(self, topic, value, key=None, headers=None, partition=-1, timestamp_ms=0):
        """value: bytes, None (a null value), or anything that becomes JSON. Delivered after flush()."""
        if value is not None and not isinstance(value, bytes):
            value = json.dumps(value).encode()
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, headers=headers or [], partition=partition,
                                       timestamp=timestamp_ms, on_delivery=self._on_delivery)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def _on_delivery(self, err, msg):
        if err is not None:
            self._failed.append(f"{msg.topic()}[{msg.partition()}]: {err}")
        else:
            self._delivered.append((msg.topic(), msg.partition(), msg.offset()))

    def flush(self):
        """Waits for everything sent; returns the (topic, partition, offset) of each in order of delivery."""
        left = self._producer.flush(FLUSH_TIMEOUT_S)
        failed, self._failed = self._failed, []
        delivered, self._delivered = self._delivered, []
        if left or failed:
            raise AssertionError(f"{left} events not delivered in {FLUSH_TIMEOUT_S} s, failed: {failed[:5]}")
        return delivered

    def send_one(self, topic, value, **kwargs):
        """Sends one event and returns its (topic, partition, offset)."""
        self.flush()
        self.send(topic, value, **kwargs)
        return self.flush()[0]

    @contextlib.contextmanager
    def transaction(self, abort=False):
        """What is sent inside is committed at its end; aborted if asked, or if the block raises."""
        assert self._transactional, "give the producer a transactional_id"
        self._producer.begin_transaction()
        try:
            yield self
            self.flush()
        except BaseException:
            self._producer.abort_transaction(FLUSH_TIMEOUT_S)
            self._failed.clear()  # the abort purges what was under way, and reports that
            raise
        if abort:
            self._producer.abort_transaction(FLUSH_TIMEOUT_S)
        else:
            self._producer.commit_transaction(FLUSH_TIMEOUT_S)


def unique_id(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"
