"""budget.on_unavailable = "wait": while no model can be asked, the event waits and nothing of it is lost, spent or late; others go on."""

import json
import os
import pathlib
import time

import pytest

from support import libconfig, model
from support.processes import wait_until
from support.producer import Producer
from support.shop import Shop, policy
from support.worker import Worker


class Switch:
    """A model that is dead until it is switched on."""

    def __init__(self, dead):
        self.dead, self.on, self.refused = dead, False, 0

    def __call__(self, request):
        if self.on:
            return model.obedient(request)
        self.refused += 1
        return self.dead(request)


def unavailable(request):
    return model.error(503, "overloaded")


def reset(request):
    return model.Reply(reset=True)


class TwoTopics(Shop):
    """The shop's topic, whose policy waits, and another, whose policy does not; both ask the same model."""

    def __init__(self, broker, topics, directory, redis):
        super().__init__(broker, topics, directory, redis)
        self.other = topics("other")
        self.write(budget={"on_unavailable": "wait", "deadline_ms": 3000, "max_model_calls": 3})
        (self.policies / "other.cfg").write_text(libconfig.dumps(
            policy(self.other, policy_id="orders.other", budget={"deadline_ms": 1500, "max_model_calls": 3})))

    def settings(self, model_url, **changes):
        result = super().settings(model_url, **changes)
        result["kafka"]["topics"] += ({"name": self.other, "format": "json"},)
        return result

    def publish_other(self, count):
        producer = Producer(self.broker.bootstrap)
        for i in range(count):
            event = {"id": f"x{i}", "type": "order", "data": {"customer": f"x{i}", "n": i}}
            producer.send(self.other, json.dumps(event).encode())
        producer.flush()

    def paused(self, worker):
        return {p["topic"]: p["paused"] for p in worker.status()["partitions"] if p["paused"]}


@pytest.fixture
def shop(broker, topics, binary, test_dir, redis):
    return TwoTopics(broker, topics, test_dir, redis)


@pytest.mark.parametrize("dead", [unavailable, reset], ids=["overloaded", "reset"])
def test_what_waits_is_decided_by_the_model_and_the_others_are_on_time(shop, dead):
    switch = Switch(dead)
    with shop.worker(switch, worker={"max_in_flight": 50}) as (worker, scripted):
        customers = [f"c{i % 40}" for i in range(200)]
        shop.publish(*customers)
        wait_until(lambda: shop.paused(worker), 15, "the partition is paused", worker.process)
        shop.publish_other(20)
        others = shop.read(count=20)  # all of them while the model is dead
        assert {d["policy_id"] for d in others} == {"orders.other"}
        assert {d["degraded_reason"] for d in others} == {"model_unavailable"}
        assert max(d["usage"]["total_ms"] for d in others) < 2500
        time.sleep(4)  # longer than the waiting policy's deadline
        status = worker.status()
        assert shop.paused(worker) == {shop.source: "no model can be asked, and a policy waits for one"}
        assert status["work"]["waiting_outage"] > 0
        assert status["work"]["in_flight"] <= 100, "max_in_flight, and as many that wait"
        assert worker.metric("verdict_decisions_total", policy="orders.ops") == 0
        refused, switch.on = switch.refused, True
        decisions = [d for d in shop.read(count=220) if d["policy_id"] == "orders.ops"]
        assert len(decisions) == 200 and {d["status"] for d in decisions} == {"decided"}
        for customer in set(customers):
            mine = [int(d["event"]["id"][1:]) for d in decisions if d["key"] == customer]
            assert mine == sorted(mine)
        wait_until(lambda: shop.paused(worker) == {}, 5, "it goes on", worker.process)
        assert len(scripted.requests) - switch.refused == 200, "each event is asked about once by a model that lives"
        assert refused < 60, "a breaker stands between a dead model and those who wait"


def test_calls_that_were_refused_are_on_record_but_not_counted_against_the_budget(shop):
    switch = Switch(unavailable)
    with shop.worker(switch) as (worker, scripted):
        shop.publish("c")
        wait_until(lambda: switch.refused >= 4, 20, "more than the budget of three calls", worker.process)
        switch.on = True
        decision, = shop.read(count=1)
        assert decision["status"] == "decided"
        assert decision["usage"]["model_calls"] == len(scripted.requests) > 3


def cpu_s(worker):
    fields = pathlib.Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_key_that_is_missing_is_waited_for_quietly(shop, test_dir):
    key = test_dir / "key"
    with shop.worker(models={"main": {"key_file": str(key)}}) as (worker, scripted):
        shop.publish("a", "b", "c")
        wait_until(lambda: shop.paused(worker), 15, "it waits", worker.process)
        before = cpu_s(worker)
        time.sleep(2)
        assert cpu_s(worker) - before < 0.5, "it asks again and again, as fast as it can"
        assert scripted.requests == []
        key.write_text("sk-test")
        assert {d["status"] for d in shop.read(count=3)} == {"decided"}


def test_a_bad_request_is_not_waited_for(shop):
    with shop.worker(lambda request: model.error(400, "bad")) as (worker, scripted):
        shop.publish("c")
        decision, = shop.read(count=1)
        assert (decision["status"], decision["degraded_reason"]) == ("fallback", "model_unavailable")
        assert len(scripted.requests) == 1


def test_an_event_that_only_fails_by_itself_does_not_wait_for_ever(shop):
    def script(request):
        return unavailable(request) if "poison" in model.asked_text(request) else model.obedient(request)

    with shop.worker(script) as (worker, _):
        shop.publish(*(f"c{i}" for i in range(30)))  # so that the breaker stays closed
        shop.read(count=30)
        shop.publish("poison")
        for i in range(40):
            shop.publish_other(1)
            if worker.metric("verdict_decisions_total", status="fallback"):
                break
            time.sleep(0.25)
        decision = next(d for d in shop.read() if d["key"] == "poison")
        assert (decision["status"], decision["degraded_reason"]) == ("fallback", "model_unavailable")


def test_the_kill_switch_ends_the_waiting(shop, test_dir):
    stop = test_dir / "stop"
    with shop.worker(unavailable, worker={"kill_switch_file": str(stop)}) as (worker, _):
        shop.publish("c")
        wait_until(lambda: shop.paused(worker), 15, "it waits", worker.process)
        stop.touch()
        assert shop.read(count=1)[0]["degraded_reason"] == "kill_switch"
        wait_until(lambda: shop.paused(worker) == {}, 5, "it goes on", worker.process)


def test_sigterm_does_not_wait_and_the_next_worker_decides(shop):
    switch = Switch(unavailable)
    with shop.worker(switch) as (worker, _):
        shop.publish("c", "c", "d")
        wait_until(lambda: worker.status()["work"]["waiting_outage"] >= 2, 15, "they wait", worker.process)
        began = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began < 8, "it did not sit out drain_timeout_ms"
        assert shop.read() == []
    with shop.worker():
        assert [(d["status"], d["event"]["id"]) for d in sorted(shop.read(count=3), key=lambda d: d["event"]["offset"])] == [
            ("decided", "o0"), ("decided", "o1"), ("decided", "o2")]


def test_a_partition_that_moves_while_it_waits_is_decided_by_its_new_owner(shop):
    shop.write("other.cfg", policy_id="orders.other", input={"topics": [shop.other]},
               budget={"on_unavailable": "wait", "deadline_ms": 3000, "max_model_calls": 3})
    switch = Switch(unavailable)
    with shop.worker(switch, kafka={"transactional_id": f"{shop.group}-a"}) as (first, _), model.ScriptedModel() as alive:
        shop.publish(*(f"c{i}" for i in range(10)))
        shop.publish_other(10)
        wait_until(lambda: len(shop.paused(first)) == 2, 15, "both partitions wait", first.process)
        second = Worker(shop.directory / "second", shop.settings(alive.url, kafka={"transactional_id": f"{shop.group}-b"}))
        with second.during():
            moved = shop.read(count=10)
            assert len({d["policy_id"] for d in moved}) == 1 and {d["status"] for d in moved} == {"decided"}
            assert len(shop.paused(first)) == 1, "the other one waits on"
            switch.on = True
            decisions = shop.read(count=20)
        assert {d["status"] for d in decisions} == {"decided"}
        assert len({(d["policy_id"], d["event"]["id"]) for d in decisions}) == 20
