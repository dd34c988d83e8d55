"""What a chaos run happens in: a broker behind a proxy, the inputs, and the program that writes them."""

import collections
import json
import random
import threading
import time

import confluent_kafka

from chaos.checker import Input
from chaos.proxy import Proxy
from support.broker import LINE, Broker
from support.processes import free_port

SESSION_MS = 6000
TXN_MS = 5000
STALL_LIMIT_S = (SESSION_MS + TXN_MS) / 1000 + 15


class Cluster:
    """A broker with a second listener that is reached through the proxy; tests use the direct one."""

    def __init__(self, directory, line=LINE):
        self.broker = Broker(directory, line)
        inner, outer = free_port(), free_port()
        config = self.broker._config
        config["listeners"] = config["listeners"] + f",PROXIED://127.0.0.1:{inner}"
        config["advertised.listeners"] = f"PLAINTEXT://{self.broker.bootstrap},PROXIED://127.0.0.1:{outer}"
        config["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
        config["log.cleaner.backoff.ms"] = 500
        config["transaction.abort.timed.out.transaction.cleanup.interval.ms"] = 1000
        self.broker.start()
        self.proxy = Proxy(outer, inner)
        self.bootstrap = self.broker.bootstrap
        self.proxied = f"127.0.0.1:{outer}"


class Inputs:
    """Three topics: a plain one of 12 partitions, one that a transactional producer writes, one that is compacted."""

    def __init__(self, cluster, prefix=""):
        self.group = prefix + "chaos"
        self.plain, self.transactional, self.compacted = self.topics = [
            prefix + name for name in ("events", "events.transactional", "events.compacted")]
        # The log's own time tells how long an event waited.
        own_time = {"message.timestamp.type": "LogAppendTime"}
        cluster.broker.create_topics([self.plain], 12, own_time)
        cluster.broker.create_topics([self.transactional], 4, own_time)
        cluster.broker.create_topics([self.compacted], 4, {
            **own_time, "cleanup.policy": "compact", "segment.ms": 1000, "max.compaction.lag.ms": 2000,
            "min.cleanable.dirty.ratio": 0.01})


class Source(threading.Thread):
    """Writes the inputs, at a steady rate, through whatever happens to the broker."""

    def __init__(self, bootstrap, inputs, seed, rate, seconds, keys=500):
        super().__init__(daemon=True)
        self.bootstrap, self.inputs, self.rate, self.seconds, self.keys = bootstrap, inputs, rate, seconds, keys
        self.random = random.Random(seed)
        self.sent = collections.Counter()
        self.compacted = []  # all that was ever in it
        self.failed = []
        self.error = None
        self.stop = threading.Event()

    def run(self):
        try:
            self._run()
        except Exception as err:  # noqa: BLE001 - the main thread reports it
            self.error = err

    def event(self, n):
        """(key, value). A few are no JSON, a few interest no policy, a few lack what one policy makes its key of."""
        customer, chance = f"c-{self.random.randrange(self.keys)}", self.random.random()
        value = {"id": f"e-{n}", "type": "order.placed", "data": {"n": n, "customer": customer, "group": f"g-{n % 97}"}}
        if chance < 0.01:
            self.sent["events that are no JSON"] += 1
            return customer.encode(), b'{"id": "e-%d", ' % n
        if chance < 0.02:
            value["data"]["group"] = ""
        elif chance < 0.04:
            value["type"] = "order.seen"
        return customer.encode(), json.dumps(value).encode()

    def _run(self):
        plain = confluent_kafka.Producer({
            "bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 120000,
            "partitioner": "murmur2_random", "reconnect.backoff.max.ms": 500, "log_level": 0})
        begin, n = time.monotonic(), 0
        while (elapsed := time.monotonic() - begin) < self.seconds and not self.stop.is_set():
            while n < elapsed * self.rate:
                self._send(plain, self.inputs.compacted if n % 10 == 0 else self.inputs.plain, n)
                n += 1
            plain.poll(0)
            if self.random.random() < 0.05:
                self._transaction(n)
            time.sleep(0.02)
        left = plain.flush(130)
        assert not left and not self.failed, f"{left} events not delivered, failed: {self.failed[:3]}"

    def _send(self, producer, topic, n):
        key, value = self.event(n)

        def delivered(err, msg):
            if err is not None:
                self.failed.append(str(err))
            elif topic == self.inputs.compacted:
                self.compacted.append(Input((msg.topic(), msg.partition(), msg.offset()), key, value))

        producer.produce(topic, value, key=key, on_delivery=delivered)
        self.sent[topic] += 1

    def _transaction(self, n):
        """One transaction in three is aborted. A broker that dies in the middle leaves an open one behind, which times out."""
        try:
            client = confluent_kafka.Producer({
                "bootstrap.servers": self.bootstrap, "transactional.id": f"{self.inputs.group}-source",
                "transaction.timeout.ms": 5000, "partitioner": "murmur2_random", "log_level": 0})
            client.init_transactions(3)
            client.begin_transaction()
            aborted = self.random.random() < 0.33
            count = self.random.randrange(1, 40)
            for i in range(count):
                key, value = self.event(n + i)
                client.produce(self.inputs.transactional, value, key=key)
            if aborted:
                client.flush(3)
                client.abort_transaction(3)
                self.sent["aborted transactions"] += 1
            else:
                client.commit_transaction(3)
                self.sent[self.inputs.transactional] += count
        except confluent_kafka.KafkaException:
            self.sent["transactions of unknown result"] += 1
