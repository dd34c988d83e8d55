"""tests/support/copy_worker.c under chaos: worker/kafka alone, without policies, Redis and model."""

import time

from chaos import world
from chaos.checker import Outcome
from chaos.pool import Pool
from support.copy_worker import CopyWorker


class Copying(Pool):
    def __init__(self, cluster, inputs, directory, count, env=None, assignor="cooperative-sticky", **options):
        super().__init__()
        output = inputs.plain + ".copies"
        cluster.broker.create_topics([output], 12)
        self.outputs = [output]
        options = {"txn_ms": world.TXN_MS, "delay_ms": 300, "in_flight": 1000, "interval_ms": 10, **options}
        self.slots = [CopyWorker(directory, f"w{i}", cluster.proxied, inputs.topics, output, inputs.group, env=env,
                                 session_ms=world.SESSION_MS, assignor=assignor, seed=i + 1, **options)
                      for i in range(count)]

    def read(self, msg):
        topic, partition, offset = msg.value().split(b" ", 1)[0].decode().rsplit("/", 2)
        return Outcome((topic, int(partition), int(offset)), "", "copy", msg.key(), (msg.topic(), msg.partition()),
                       time.time())

    def expect(self, value):
        return {"": "copy"}

    def counts(self):
        statuses = [slot.status() for slot in self.slots if slot.process.running()]
        return [(f"last lives: {name}", sum(s[name] for s in statuses)) for name in ("aborts", "unknown", "rebuilds", "fenced")]
