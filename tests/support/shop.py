"""A small shop: topics, one or more policies, a model and a worker of its own, for tests of `verdict run`."""

import contextlib
import json

from . import libconfig, model, records
from .producer import Producer, unique_id
from .reader import Reader
from .worker import Worker, settings

OUTPUTS = ("decisions.orders", "decisions.review", "decisions.shadow", "decisions.audit", "decisions.dead-letter")


def policy(topic, policy_id="orders.ops", version=1, mode="enforce", **groups):
    base = {
        "policy": {"id": policy_id, "version": version, "mode": mode},
        "input": {"topics": [topic], "when": "event.type == 'order'", "key": "{event.data.customer}"},
        "reasoning": {"goal": "Decide.", "show": ["/event/data/n", "/event/data/customer"]},
        "actions": {"ship": {}, "hold": {}},
        "budget": {"deadline_ms": 5000, "max_model_calls": 1},
        "fallback": {"action": "hold"},
    }
    for group, content in groups.items():
        base[group] = {**base.get(group, {}), **content}
    return base


class Shop:
    """A worker with topics, policies and a model of its own."""

    def __init__(self, broker, topics, directory, redis):
        self.broker, self.directory, self.redis = broker, directory, redis
        prefix = unique_id("ops")
        self.source = topics("orders")
        self.names = {name: topics(f"{prefix}.{name}") for name in OUTPUTS}
        self.group = prefix
        self.policies = directory / "policies" / "orders"
        self.policies.mkdir(parents=True)
        self.sent = 0

    def write(self, name="ops.cfg", **changes):
        (self.policies / name).write_text(libconfig.dumps(policy(self.source, **changes)))

    def settings(self, model_url, redis_address=None, **changes):
        decisions = self.names["decisions.orders"]
        output = {"prefix": decisions[:-len(".orders")], "review": self.names["decisions.review"],
                  "shadow": self.names["decisions.shadow"], "audit": self.names["decisions.audit"],
                  "dead_letter": self.names["decisions.dead-letter"]}
        return settings(self.broker.bootstrap, redis_address or self.redis.address, model_url,
                        [{"name": self.source, "format": "json"}], policies=self.directory / "policies",
                        group=self.group, output=output, **changes)

    def publish(self, *customers, **members):
        producer = Producer(self.broker.bootstrap)
        for customer in customers:
            event = {"id": f"o{self.sent}", "type": "order", "data": {"customer": customer, "n": self.sent}, **members}
            producer.send_one(self.source, json.dumps(event).encode(), key=customer.encode())
            self.sent += 1

    def read(self, topic="decisions.orders", count=None):
        with Reader(self.broker.bootstrap, [self.names[topic]]) as reader:
            if count is not None:
                reader.count(count, 30)
            else:
                reader.drain()
            return [records.check_decision(record) if topic not in ("decisions.audit", "decisions.dead-letter")
                    else record for record in reader.records]

    @contextlib.contextmanager
    def worker(self, script=model.obedient, ready=True, **changes):
        with model.ScriptedModel(script) as scripted:
            worker = Worker(self.directory, self.settings(scripted.url, **changes))
            worker.start(ready=ready)
            try:
                yield worker, scripted
            finally:
                worker.kill()
