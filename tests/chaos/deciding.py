"""`verdict run` under chaos: two policies, a real Redis, and the simulated model, all of which may fail.

expect() says what each event must lead to. It is the policies below once more, in the reader's own words.
"""

import contextlib
import json
import time

import redis

from chaos import world
from chaos.checker import Outcome
from chaos.pool import Pool
from support import libconfig
from support.model import ModelSim
from support.redis_server import RedisServer
from support.worker import Worker, settings

EVERY, THIRD = "chaos.every", "chaos.third"
DECISIONS, REVIEW, SHADOW, AUDIT, DEAD = ("decisions.chaos", "decisions.review", "decisions.shadow", "decisions.audit",
                                          "decisions.dead-letter")
KINDS = {DECISIONS: "decision", REVIEW: "review", SHADOW: "shadow", DEAD: "dead letter"}
CALM = {"latency": "lognormal:250:0.6", "errors": {}, "retry_after": 1}


def expect(value):
    try:
        event = json.loads(value)
    except ValueError:
        return {"": "dead letter"}
    if event["type"] != "order.placed":
        return {}
    outcomes = {EVERY: "decision"}
    if event["data"]["n"] % 3 == 0:
        outcomes[THIRD] = "decision" if event["data"]["group"] else "dead letter"
    return outcomes


def policy(name, topics, when, key, deadline_ms, **groups):
    return libconfig.dumps({
        "policy": {"id": name, "version": 1, "mode": "enforce"},
        "input": {"topics": topics, "when": when, "key": key, "max_queue_per_key": 10000},
        "context": {"note": {"redis": "HGETALL note:{event.data.customer}", "default": {}}},
        "reasoning": {"goal": "Ship what can be shipped.", "show": ["/event/data/n", "/event/data/customer", "/note"]},
        "actions": {"ship": {"params": {"days": {"type": "integer", "min": 1, "max": 9}}}, "hold": {}},
        "budget": {"deadline_ms": deadline_ms, "max_model_calls": 3},
        "fallback": {"action": "hold"},
        **groups,
    })


def write_policies(directory, topics, deadline_ms=4000):
    folder = directory / "policies" / "chaos"  # the domain, and so the topic
    folder.mkdir(parents=True)
    (folder / "every.cfg").write_text(
        policy(EVERY, topics, "event.type == 'order.placed'", "{event.data.customer}", deadline_ms))
    (folder / "third.cfg").write_text(
        policy(THIRD, topics, "event.type == 'order.placed' && event.data.n % 3 == 0", "{event.data.group}", deadline_ms))
    return directory / "policies"


class Deciding(Pool):
    own_faults = ("redis_away", "redis_restarted_empty", "redis_paused", "model_outage", "model_brown_out", "model_flood_of_429")

    def __init__(self, cluster, inputs, directory, count, env=None, assignor="cooperative-sticky", **changes):
        super().__init__()
        self.outputs = [*KINDS, AUDIT]
        self.audits = {}
        cluster.broker.create_topics([DECISIONS, AUDIT], 12)
        cluster.broker.create_topics([REVIEW, SHADOW, DEAD], 3)
        self.redis = RedisServer(directory / "redis").start()
        self.seed_redis()
        self.model = ModelSim(directory).start()
        self.calm()
        policies = write_policies(directory, inputs.topics)
        for i in range(count):
            conf = settings(
                cluster.proxied, self.redis.address, self.model.url, [{"name": t, "format": "json"} for t in inputs.topics],
                policies=policies, group=inputs.group,
                kafka={"transactional_id": f"{inputs.group}-w{i}", "session_timeout_ms": world.SESSION_MS,
                       "transaction_timeout_ms": world.TXN_MS, "assignor": assignor},
                worker={"name": f"w{i}", "drain_timeout_ms": 5000, "max_fallback_ratio": 1}, **changes)
            self.slots.append(Worker(directory, conf, name=f"w{i}", env=env))

    def seed_redis(self):
        with contextlib.suppress(redis.RedisError), self.redis.client() as client:
            for i in range(0, 500, 2):
                client.hset(f"note:c-{i}", "text", "a good customer")

    def calm(self):
        self.model.control(**CALM)

    def begin(self, slot):
        slot.start(ready=False)

    def read(self, msg):
        topic, now = msg.topic(), time.time()
        headers = dict(msg.headers() or [])
        where = topic, msg.partition()
        if topic == AUDIT:
            decision = headers["ce_id"].decode()
            self.audits[decision] = self.audits.get(decision, 0) + 1
            return None
        if topic == DEAD:
            own = {name: headers["verdict-" + name].decode() for name in ("topic", "partition", "offset", "policy")}
            # It keeps the original's key, and no order.
            return Outcome((own["topic"], int(own["partition"]), int(own["offset"])), own["policy"], KINDS[topic], None,
                           where, now)
        value = json.loads(msg.value())
        event = value["event"]
        assert value["key"].encode() == msg.key(), f"{value['key']} was published under {msg.key()}"
        return Outcome((event["topic"], event["partition"], event["offset"]), value["policy_id"], KINDS[topic], msg.key(),
                       where, now, value["decision_id"])

    def expect(self, value):
        return expect(value)

    def audit_mismatch(self, outcomes):
        """Ids of decisions without exactly one audit record, and of audit records without a decision."""
        ids = {o.id for o in outcomes if o.id}
        return [i for i in ids | self.audits.keys() if i not in ids or self.audits.get(i) != 1]

    def counts(self):
        rows, running = [], [slot.status() for slot in self.slots if slot.process.running()]
        rows += [(f"last lives: {name}", sum(s["kafka"][name] for s in running))
                 for name in ("transactions", "aborts", "unknown_results", "rebuilds")]
        rows += [("last lives: model calls", sum(m["calls"] for s in running for m in s["models"]))]
        return rows

    def end(self):
        self.kill_all()
        self.redis.kill()
        self.model.kill()
