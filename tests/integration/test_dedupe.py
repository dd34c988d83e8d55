"""One event delivered twice is decided once: over the wire, through crashes, and while Redis is away."""

import signal
import time

import pytest

from support import model
from support.processes import wait_until
from support.redis_server import RedisServer
from support.shop import Shop


@pytest.fixture
def shop(broker, topics, binary, test_dir, redis):
    return Shop(broker, topics, test_dir, redis)


def write(shop, window_s=600, **changes):
    shop.write(**{**changes, "input": {"dedupe": {"id": "{event.id}", "window_s": window_s}, **changes.get("input", {})}})


def skipped(worker):
    return worker.metric("verdict_events_skipped_total", reason="duplicate")


def test_a_duplicate_is_skipped_before_a_model_is_paid(shop):
    write(shop)
    with shop.worker() as (worker, scripted):
        shop.publish("k", id="first")
        shop.publish("k", "other", id="first")  # another key: the id decides
        shop.publish("k", id="second")
        assert [d["event"]["id"] for d in shop.read(count=2)] == ["first", "second"]
        assert skipped(worker) == 2
        assert len(scripted.requests) == 2
        worker.wait_metric("verdict_commits_total", 1, outcome="committed")
        assert len(shop.read("decisions.audit", count=2)) == 2, "a duplicate is recorded nowhere"
        assert shop.read("decisions.dead-letter") == []
        key, = [k for k in shop.redis.client().keys("*dedupe:*") if k.endswith(":first")]
        assert key == f"verdict:{shop.group}:dedupe:orders.ops:first"
        assert 500 < shop.redis.client().ttl(key) <= 600


def test_a_duplicate_of_what_is_still_being_decided_is_one_already(shop):
    write(shop, input={"key": "{event.data.n}"})
    with shop.worker(lambda request: model.Reply(model.obedient(request), delay_s=1.5)) as (worker, scripted):
        shop.publish("k", "k", id="same")
        wait_until(lambda: skipped(worker) == 1, 10, "the second is skipped", worker.process)
        assert worker.metric("verdict_decisions_total") == 0, "the first was decided before the second was looked at"
        decision, = shop.read(count=1)
        assert decision["event"]["offset"] == 0 and len(scripted.requests) == 1


def test_a_record_that_is_read_again_is_no_duplicate_of_itself(shop):
    write(shop, budget={"deadline_ms": 60000})
    with shop.worker(lambda request: model.Reply(model.obedient(request), delay_s=30), worker={"drain_timeout_ms": 200}) as (worker, scripted):
        shop.publish("k", id="same")
        wait_until(lambda: len(scripted.requests) == 1, 10, "it is asked", worker.process)
        assert worker.stop() == 0
    with shop.worker() as (worker, _):
        shop.publish("k", id="same")
        decision, = shop.read(count=1)
        assert (decision["status"], decision["event"]["offset"]) == ("decided", 0)
        wait_until(lambda: skipped(worker) == 1, 10, "the second is skipped", worker.process)


def test_after_the_window_it_is_another_event(shop):
    write(shop, window_s=1)
    with shop.worker():
        shop.publish("k", id="same")
        shop.read(count=1)
        time.sleep(1.5)
        shop.publish("k", id="same")
        assert len(shop.read(count=2)) == 2


def test_shadow_mode_does_not_claim_for_the_real_decision(shop):
    write(shop, mode="shadow")
    with shop.worker() as (worker, _):
        shop.publish("k", "k", id="same")
        shop.read("decisions.shadow", count=1)
        write(shop, version=2)
        worker.process.signal(signal.SIGHUP)
        worker.wait_metric("verdict_policy_reloads_total", 1, outcome="swapped")
        shop.publish("k", id="same")
        assert shop.read(count=1)[0]["mode"] == "enforce"
        assert len(shop.read("decisions.shadow")) == 1


def test_without_redis_the_fallback_decides_and_says_so(shop, test_dir):
    server = RedisServer(test_dir / "own-redis").start()
    address = server.address
    server.stop()
    write(shop, budget={"deadline_ms": 1500}, shortcut={"all": {"when": "event.data.customer == 'short'", "action": "ship"}})
    with shop.worker(redis={"address": address}) as (worker, scripted):
        shop.publish("k", "short")
        decisions = shop.read(count=2)
        assert [(d["status"], d["degraded_reason"], d["action"]) for d in decisions] == [("fallback", "dedupe_unavailable", "hold")] * 2
        assert scripted.requests == []
        server.start()
        wait_until(lambda: worker.status()["redis"]["state"] == "up", 15, "Redis is seen", worker.process)
        shop.publish("k")
        assert shop.read(count=3)[2]["status"] == "decided"
    server.kill()


def test_an_event_without_an_id_is_a_dead_letter(shop):
    write(shop)
    with shop.worker():
        shop.publish("k", id=None)
        letter, = shop.read("decisions.dead-letter", count=1)
        assert letter.header("verdict-stage") == "key" and "dedupe" in letter.header("verdict-reason")


def test_a_redis_that_may_forget_is_not_used(shop):
    write(shop)
    client = shop.redis.client()
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with shop.worker() as (worker, _):
            wait_until(lambda: "noeviction" in worker.status()["redis"]["reason"], 10, "status says why", worker.process)
            assert worker.status()["redis"]["state"] != "up"
    finally:
        client.config_set("maxmemory-policy", "noeviction")
