"""State and memory across events: counted exactly under kill -9, changed by what is remembered, rebuilt from the audit topic.

No model is asked: shortcuts decide, so that what is tested is only who writes what when.
"""

import json
import random
import subprocess
import time

import pytest

from support import libconfig, paths
from support.processes import wait_until
from support.producer import Producer, unique_id
from support.reader import Reader
from support.redis_server import RedisServer
from support.worker import Worker, settings

COUNTER = {
    "state": {"fields": {
        "round": {"type": "integer", "default": 0, "next": "state.round + 1"},
        "sum": {"type": "integer", "default": 0, "next": "state.sum + event.data.n"},
        "last": {"type": "string", "default": "", "next": "event.id"},
    }},
    "shortcut": {"every": {"when": "true", "action": "ship"}},
}
CALLS = {
    "memory": {"read_last": 3, "max_notes": 5, "write": {
        "note": "'was ' + action + ' after: ' + event.data.text",
        "fields": {"n": "event.data.n", "word": "event.data.text"}}},
    "shortcut": {
        "enough": {"when": "memory.exists(m, m.action == 'ship' && m.age_s < 3600)", "action": "hold"},
        "first": {"when": "true", "action": "ship"}},
}


class Place:
    """Topics, a policy, and workers of one group that never ask a model."""

    def __init__(self, broker, topics, directory, redis, partitions=4):
        self.broker, self.directory, self.redis = broker, directory, redis
        self.group = unique_id("state")
        self.source = topics("orders", partitions=partitions)
        self.names = {name: f"{self.group}.{name}"
                      for name in ("decisions.orders", "review", "shadow", "audit", "dead-letter")}
        broker.create_topics(list(self.names.values()), partitions=4)
        self.folder = directory / "policies" / "orders"
        self.folder.mkdir(parents=True)
        self.sent = {}
        self.workers = []

    def write(self, mode="enforce", deadline_ms=5000, **groups):
        (self.folder / "ops.cfg").write_text(libconfig.dumps({
            "policy": {"id": "orders.ops", "version": 1, "mode": mode},
            "input": {"topics": [self.source], "when": "true", "key": "{event.data.customer}", "max_queue_per_key": 1000},
            "reasoning": {"goal": "Decide.", "show": ["/event/data/n"]},
            "actions": {"ship": {}, "hold": {}},
            "budget": {"deadline_ms": deadline_ms},
            "fallback": {"action": "hold"}, **groups}))

    def settings(self, name, **changes):
        return settings(
            self.broker.bootstrap, self.redis.address, "http://127.0.0.1:1", [{"name": self.source, "format": "json"}],
            policies=self.directory / "policies", group=self.group, models=None,
            kafka={"transactional_id": f"{self.group}.{name}", "instance_id": name, "transaction_timeout_ms": 5000,
                   "session_timeout_ms": 6000, "commit_interval_ms": 20, **changes.pop("kafka", {})},
            output={"prefix": f"{self.group}.decisions", "review": self.names["review"], "shadow": self.names["shadow"],
                    "audit": self.names["audit"], "dead_letter": self.names["dead-letter"]}, **changes)

    def worker(self, name="w1", **changes):
        worker = Worker(self.directory, self.settings(name, **changes), name=name)
        self.workers.append(worker)
        return worker

    def publish(self, customers, text="call"):
        """Events with n = 0, 1, ... of each customer."""
        producer = Producer(self.broker.bootstrap)
        for customer in customers:
            n = self.sent[customer] = self.sent.get(customer, -1) + 1
            event = {"id": f"{customer}-{n}", "type": "order", "data": {"customer": customer, "n": n, "text": text}}
            producer.send(self.source, json.dumps(event).encode(), key=customer.encode())
        producer.flush()

    def decisions(self, count=None, topic="decisions.orders", timeout=60):
        with Reader(self.broker.bootstrap, [self.names[topic]]) as reader:
            if count is not None:
                reader.count(count, timeout)
            reader.drain()
            return [json.loads(record.value) for record in reader.records]

    def key(self, what, customer):
        return f"verdict:{self.group}:{what}:orders.ops:{customer}"

    def state(self, customer):
        return self.redis.client().hgetall(self.key("state", customer))

    def notes(self, customer):
        return [json.loads(note) for note in self.redis.client().lrange(self.key("memory", customer), 0, -1)]

    def counted(self, customer):
        """What the counter's state must be after everything that was sent."""
        n = self.sent[customer] + 1
        return {"round": str(n), "sum": str(n * (n - 1) // 2), "last": f"{customer}-{n - 1}"}

    def check_counted(self):
        for customer in self.sent:
            state = self.state(customer)
            assert {name: state.get(name) for name in ("round", "sum", "last")} == self.counted(customer), customer

    def pending(self):
        client = self.redis.client()
        return [field for key in client.scan_iter(match=f"verdict:{self.group}:pending:*")
                for field in client.hkeys(key) if field != "@owner"]

    def clean_up(self):
        for worker in self.workers:
            worker.kill()
        self.broker.delete_topics(list(self.names.values()))


@pytest.fixture
def place(broker, topics, binary, test_dir, redis):
    place = Place(broker, topics, test_dir, redis)
    yield place
    place.clean_up()


@pytest.fixture
def own_redis(test_dir):
    server = RedisServer(test_dir / "own-redis", persist=True).start()
    yield server
    server.kill()


def rounds(decisions):
    """{key: [round, ...]} by offset."""
    found = {}
    for decision in sorted(decisions, key=lambda d: d["event"]["offset"]):
        found.setdefault(decision["key"], []).append(decision["round"])
    return found


def check_rounds(place, decisions):
    assert len(decisions) == sum(n + 1 for n in place.sent.values())
    for customer, found in rounds(decisions).items():
        assert found == list(range(1, place.sent[customer] + 2)), customer


# --- the counter --------------------------------------------------------------------------------------------------------

def test_a_counter_is_exact_under_kill_9(place):
    customers = [f"c{i}" for i in range(100)]
    place.write(deadline_ms=60000, **COUNTER)
    worker = place.worker()
    random.seed(5)
    for n in range(8):
        place.publish(customers * 6)
        worker.start()
        time.sleep(random.uniform(0.1, 0.5))
        place.publish(customers * 6)  # however fast the worker is, there is work at the moment of the kill
        time.sleep(random.uniform(0.03, 0.12))
        if n % 2 == 0:  # what was written down before, and is committed from here on, is not changed any more by this worker
            place.redis.client().execute_command("CLIENT", "PAUSE", "3000", "WRITE")
            time.sleep(0.3)
        worker.kill()
        place.redis.client().execute_command("CLIENT", "UNPAUSE")
    place.publish(customers * 4)
    worker.start()
    decisions = place.decisions(count=10_000, timeout=180)
    wait_until(lambda: not place.pending(), 10, "every change is made", worker.process)
    check_rounds(place, decisions)
    place.check_counted()
    assert worker.status()["changes"]["stale"] == 0
    assert sum(int(line.split("applied=")[1].split()[0]) for line in worker.log().splitlines()
               if "effects.recovered" in line) > 0, "no kill fell between a commit and its changes: tighten the test"
    assert worker.stop() == 0


def test_two_workers_hand_partitions_over(place):
    customers = [f"c{i}" for i in range(40)]
    place.write(deadline_ms=60000, **COUNTER)
    place.publish(customers * 25)
    first, second = (place.worker(name, kafka={"instance_id": None}) for name in ("w1", "w2"))
    first.start()
    place.publish(customers * 25)
    second.start()
    for _ in range(8):  # while partitions move, and after
        place.publish(customers * 4)
        time.sleep(0.4)
    wait_until(lambda: second.metric("verdict_decisions_total") > 50, 30, "the second took over", second.process)
    place.publish(customers * 20)
    time.sleep(0.3)
    assert first.stop() == 0
    place.publish(customers * 3)
    decisions = place.decisions(count=sum(n + 1 for n in place.sent.values()), timeout=60)
    wait_until(lambda: not place.pending(), 10, "every change is made", second.process)
    check_rounds(place, decisions)
    place.check_counted()
    assert second.stop() == 0


def test_a_stopped_worker_has_made_its_changes(place):
    place.write(**COUNTER)
    with place.worker().during() as worker:
        place.publish(["a", "b"] * 5)
        worker.wait_metric("verdict_decisions_total", 4)
    for customer, found in rounds(place.decisions()).items():
        assert place.state(customer)["round"] == str(len(found))
    assert place.pending() == []


# --- Redis ----------------------------------------------------------------------------------------------------------------

def test_redis_away_while_changes_are_made(broker, topics, binary, test_dir, own_redis):
    """Decided, but not written down: the decision waits, nothing is lost, and other keys go on by their fallback."""
    place = Place(broker, topics, test_dir, own_redis)
    try:
        place.write(deadline_ms=1500, **COUNTER)
        with place.worker().during() as worker:
            place.publish(["a"] * 20)
            worker.wait_metric("verdict_decisions_total", 3)
            own_redis.kill()
            place.publish(["b"] * 3)
            decisions = place.decisions(count=4, timeout=20)
            wait_until(lambda: any(d["key"] == "b" for d in place.decisions()), 15, "the other key goes on", worker.process)
            assert "redis" in worker.status()["waiting_for"]
            own_redis.start()
            decisions = place.decisions(count=23, timeout=30)
            wait_until(lambda: not place.pending(), 10, "every change is made", worker.process)
        for customer, found in rounds(decisions).items():
            counted = [number for number in found if number is not None]
            assert counted == list(range(1, len(counted) + 1)), customer
            assert place.state(customer).get("round", "0") == str(len(counted))
        blind = [d for d in decisions if d["round"] is None]
        assert blind and all(d["degraded_reason"] == "context_unavailable" for d in blind)
    finally:
        place.clean_up()


def test_an_emptied_redis_is_noticed_and_rebuilt(place):
    customers = [f"c{i}" for i in range(10)]
    place.write(**COUNTER, memory=CALLS["memory"])
    with place.worker(kafka={"instance_id": None}).during() as worker:
        place.publish(customers * 7)
        place.decisions(count=70)
        wait_until(lambda: not place.pending(), 10, "every change is made", worker.process)
        assert "stop the workers first" in state_command(place, "rebuild", status=78)
    before = everything(place)
    place.redis.client().flushall()
    dry = state_command(place, "rebuild", "--dry-run")
    assert "70 decisions" in dry and everything(place) == {}
    said = state_command(place, "rebuild")
    assert "70 decisions" in said, said
    assert everything(place) == before
    assert state_command(place, "rebuild") and everything(place) == before, "once more changes nothing"
    shown = state_command(place, "show", "--key", "c3")
    assert "round" in shown and "7" in shown and "c3" in shown and "c4" not in shown
    with place.worker(kafka={"instance_id": None}).during() as worker:
        place.publish(["c3"])
        place.decisions(count=71)
        wait_until(lambda: not place.pending(), 10, "every change is made", worker.process)
        place.check_counted()
        place.redis.client().flushall()
        place.publish(["c5"])
        place.decisions(count=72)
        wait_until(lambda: worker.status()["changes"]["redis_emptied"] > 0, 10, "it is noticed", worker.process)


def everything(place):
    client = place.redis.client()
    keys = [key for what in ("state", "memory") for key in client.scan_iter(match=f"verdict:{place.group}:{what}:*")]
    return {key: client.hgetall(key) if ":state:" in key else client.lrange(key, 0, -1) for key in keys}


def state_command(place, *words, status=0):
    run = subprocess.run([paths.BINARY, "state", *words, "-c", place.workers[0].conf_path], capture_output=True,
                         text=True, timeout=60, cwd=paths.ROOT)
    assert run.returncode == status, run.stderr
    return run.stdout + run.stderr


# --- memory -----------------------------------------------------------------------------------------------------------------

def test_a_memory_changes_the_next_decision(place):
    place.write(**CALLS)
    with place.worker().during():
        place.publish(["a", "b", "a", "a", "a", "a", "a"], text="a \u202eword, and more")
        decisions = place.decisions(count=7)
    of_a = [d["action"] for d in sorted(decisions, key=lambda d: d["event"]["offset"]) if d["key"] == "a"]
    assert of_a[:4] == ["ship", "hold", "hold", "hold"]
    assert of_a[4:] == ["ship", "hold"], "the note of the first has left the three that are read"
    notes = place.notes("a")
    assert [note["n"] for note in notes] == [5, 4, 3, 2, 1], "the newest five, the newest first"
    assert all("\u202e" not in note["text"] and note["time_ms"] > 0 for note in notes)
    assert [note["decision_id"] for note in notes] == [
        d["decision_id"] for d in sorted(decisions, key=lambda d: -d["event"]["offset"]) if d["key"] == "a"][:5]
    audit = {record["decision_id"]: record["changes"] for record in place.decisions(topic="audit")}
    last = audit[notes[0]["decision_id"]]["memory"]
    assert last["read"] == [note["decision_id"] for note in notes[1:4]] and last["note"] == notes[0] and last["written"]


def test_shadow_reads_and_writes_nothing(place):
    place.write(mode="shadow", **COUNTER, memory=CALLS["memory"])
    place.redis.client().hset(place.key("state", "a"), mapping={"round": 4, "sum": 1, "last": "x"})
    before = everything(place)
    with place.worker().during():
        place.publish(["a", "a"])
        decisions = place.decisions(count=2, topic="shadow")
    assert [d["round"] for d in decisions] == [5, 5]
    assert everything(place) == before and place.pending() == []
