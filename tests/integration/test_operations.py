"""`verdict run` as an operator knows it: waiting for others, deadlines, order, drain, reload, kill switch, modes, health.

Real broker, real Redis, a scripted model; one small policy that the test writes.
"""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from support import libconfig, model, paths
from support.processes import free_port, wait_until
from support.producer import unique_id
from support.redis_server import RedisServer
from support.shop import Shop
from support.worker import Worker

@pytest.fixture
def shop(broker, topics, binary, test_dir, redis):
    return Shop(broker, topics, test_dir, redis)


def slow(seconds, then=model.obedient):
    return lambda request: model.Reply(then(request), delay_s=seconds)


# --- on time --------------------------------------------------------------------------------------------------------

def test_past_the_deadline_the_fallback_decides(shop):
    shop.write(budget={"deadline_ms": 700})
    with shop.worker(slow(30)) as (worker, _):
        shop.publish("c1")
        decision, = shop.read(count=1)
    assert (decision["status"], decision["degraded_reason"], decision["action"]) == ("fallback", "deadline", "hold")
    assert 650 <= decision["usage"]["total_ms"] < 2000


def test_without_a_model_the_fallback_decides(shop):
    shop.write()
    with shop.worker(lambda request: model.Reply(reset=True)) as (worker, _):
        shop.publish("c1")
        decision, = shop.read(count=1)
        assert worker.metric("verdict_degraded_total", reason="model_unavailable") == 1
    assert (decision["status"], decision["degraded_reason"]) == ("fallback", "model_unavailable")


def test_the_kill_switch_stops_the_models(shop, test_dir):
    switch = test_dir / "stop"
    shop.write()
    with shop.worker(worker={"kill_switch_file": str(switch)}) as (worker, scripted):
        switch.touch()
        wait_until(lambda: worker.status()["work"]["kill_switch"], 5, "the switch is seen", worker.process)
        assert "kill switch" in worker.status()["waiting_for"]
        shop.publish("c1")
        decision, = shop.read(count=1)
        assert decision["degraded_reason"] == "kill_switch"
        assert scripted.requests == []
        switch.unlink()
        wait_until(lambda: not worker.status()["work"]["kill_switch"], 5, "it is off", worker.process)
        shop.publish("c1")
        assert shop.read(count=2)[1]["status"] == "decided"


# --- waiting for others ------------------------------------------------------------------------------------------------

def context_policy(shop, **changes):
    shop.write(context={"profile": {"redis": "HGETALL profile:{event.data.customer}", "default": {}}}, **changes)


def test_redis_absent_is_waited_for_and_nothing_is_lost(shop, test_dir):
    server = RedisServer(test_dir / "own-redis").start()
    address = server.address
    server.stop()
    context_policy(shop, budget={"deadline_ms": 1500})
    with shop.worker(redis={"address": address}) as (worker, _):
        assert worker.healthy() and worker.ready()
        shop.publish("c1")
        decision, = shop.read(count=1)
        assert (decision["status"], decision["degraded_reason"]) == ("fallback", "context_unavailable")
        wait_until(lambda: "redis" in worker.status()["waiting_for"], 5, "status says why", worker.process)
        server.start()
        wait_until(lambda: worker.status()["redis"]["state"] == "up", 15, "Redis is seen", worker.process)
        shop.publish("c1")
        assert shop.read(count=2)[1]["status"] == "decided"
    server.kill()


def test_the_broker_may_come_late(brokers, shop, run_dir):
    late = brokers(unique_id("late"))
    late.stop()
    shop.write()
    conf = shop.settings("http://127.0.0.1:1", kafka={"brokers": late.bootstrap})
    worker = Worker(shop.directory, conf).start(ready=False)
    try:
        wait_until(worker.healthy, 10, "it lives", worker.process)
        wait_until(lambda: "kafka" in worker.status().get("waiting_for", ""), 20, "status says why", worker.process)
        assert not worker.ready()
        late.start()
        late.create_topics([shop.source, *shop.names.values()])
        worker.wait_ready()
        assert worker.stop() == 0
    finally:
        worker.kill()
        late.kill()


# --- order ----------------------------------------------------------------------------------------------------------------

def test_one_key_waits_for_itself_and_for_nobody_else(shop):
    asked = []

    def script(request):
        text = model.asked_text(request)
        n = next(n for n in range(10) if f'"n":{n}' in text)
        asked.append((n, time.monotonic()))
        answer = model.obedient(request)
        return model.Reply(answer, delay_s=1.0) if n == 0 else answer

    shop.write()
    with shop.worker(script):
        shop.publish("slow", "slow", "quick")
        decisions = shop.read(count=3)
    order = [n for n, _ in sorted(asked, key=lambda item: item[1])]
    assert order.index(2) < order.index(1), "the other key waited"
    times = dict(asked)
    assert times[1] - times[0] >= 1.0, "the second event of a key was asked about before the first was answered"
    assert [d["event"]["id"] for d in decisions if d["key"] == "slow"] == ["o0", "o1"]


def test_too_many_events_of_one_key_fall_back(shop):
    shop.write(input={"max_queue_per_key": 1, "on_overflow": "review"}, budget={"deadline_ms": 8000})
    with shop.worker(slow(0.5)) as (worker, scripted):
        shop.publish("k", "k", "k", "k")
        reviews = shop.read("decisions.review", count=2)
        decisions = shop.read(count=2)
    assert {d["degraded_reason"] for d in reviews} == {"overflow"}
    assert [d["event"]["id"] for d in decisions] == ["o0", "o1"]
    assert len(scripted.requests) == 2


def test_stale_events_are_skipped_or_reviewed(shop):
    shop.write(input={"max_event_age_s": 60, "on_stale": "skip"})
    shop.write("other.cfg", policy_id="orders.other", input={"max_event_age_s": 60, "on_stale": "review"})
    with shop.worker() as (worker, _):
        shop.publish("k", time="2020-01-01T00:00:00Z")
        review, = shop.read("decisions.review", count=1)
        assert (review["policy_id"], review["degraded_reason"]) == ("orders.other", "stale")
        assert worker.metric("verdict_events_skipped_total", reason="stale") == 1
        assert shop.read() == []


# --- change -----------------------------------------------------------------------------------------------------------------

def test_reload_swaps_good_policies_and_refuses_bad_ones(shop):
    shop.write()
    with shop.worker() as (worker, _):
        shop.publish("k")
        shop.read(count=1)
        (shop.policies / "ops.cfg").write_text("policy = { id = \"orders.ops\"; verson = 2; };")
        worker.process.signal(signal.SIGHUP)
        worker.wait_metric("verdict_policy_reloads_total", 1, outcome="refused")
        shop.publish("k")
        shop.read(count=2)
        shop.write(version=2)
        worker.process.signal(signal.SIGHUP)
        worker.wait_metric("verdict_policy_reloads_total", 1, outcome="swapped")
        shop.publish("k")
        versions = [d["policy_version"] for d in shop.read(count=3)]
        assert "verson" in worker.log()
        assert worker.status()["policies"][0]["version"] == 2
    assert versions == [1, 1, 2]


def test_sighup_applies_what_may_change_and_names_what_may_not(shop):
    shop.write()
    with shop.worker() as (worker, _):
        changed = {**worker.conf, "log": {"level": "warn"}, "worker": {"max_in_flight": 7}}
        worker.conf_path.write_text(libconfig.dumps(changed))
        worker.process.signal(signal.SIGHUP)
        worker.wait_metric("verdict_policy_reloads_total", 1, outcome="swapped")
        log = worker.log()
        assert "settings.needs_restart setting=worker.max_in_flight" in log
        assert "policy.reloaded" not in log, "level info is off now"
        worker.conf_path.write_text("kafka = { brokres = 1; };")
        worker.process.signal(signal.SIGHUP)
        worker.wait_metric("verdict_policy_reloads_total", 1, outcome="refused")
        assert "brokres" in worker.log()


def test_a_policy_whose_cases_fail_is_not_swapped_in(shop):
    shop.write()
    with shop.worker() as (worker, _):
        shop.write(version=2)
        (shop.policies / "ops.cases.json").write_text(json.dumps([{
            "name": "expects what it does not do", "event": {"type": "order", "data": {"customer": "c", "n": 1}},
            "model": [{"error": "deadline"}], "expect": {"status": "decided", "action": "ship"}}]))
        worker.process.signal(signal.SIGHUP)
        worker.wait_metric("verdict_policy_reloads_total", 1, outcome="refused")
        assert "cases fail" in worker.log()
        assert worker.status()["policies"][0]["version"] == 1


def test_a_refusal_that_was_repaired_is_counted(shop):
    shop.write(actions={"ship": {"require": {"never": {"expr": "event.data.n < 0", "why": "No."}}}}, budget={"max_model_calls": 2, "max_repairs": 1})

    def script(request):
        told = len(request["messages"]) > 2
        return model.completion(model.answer_to(request, "hold" if told else "ship"))

    with shop.worker(script) as (worker, _):
        shop.publish("k")
        decision, = shop.read(count=1)
        assert (decision["status"], decision["action"], decision["usage"]["repairs"]) == ("decided", "hold", 1)
        assert worker.metric("verdict_rule_failures_total", policy="orders.ops", rule="never") == 1
        assert worker.metric("verdict_repairs_total", policy="orders.ops") == 1


def test_the_same_version_with_other_content_is_refused(shop):
    shop.write()
    with shop.worker() as (worker, _):
        shop.write(reasoning={"goal": "Decide otherwise."})
        worker.process.signal(signal.SIGHUP)
        worker.wait_metric("verdict_policy_reloads_total", 1, outcome="refused")


def test_shadow_decides_on_its_own_topic_only(shop):
    shop.write(mode="shadow")
    with shop.worker():
        shop.publish("k")
        shadow, = shop.read("decisions.shadow", count=1)
    assert (shadow["mode"], shadow["status"]) == ("shadow", "decided")
    assert shop.read() == []


def test_two_policies_on_one_record_are_published_together(shop):
    shop.write()
    shop.write("second.cfg", policy_id="orders.second")
    with shop.worker():
        shop.publish("k")
        decisions = shop.read(count=2)
    assert {d["policy_id"] for d in decisions} == {"orders.ops", "orders.second"}
    assert len({d["decision_id"] for d in decisions}) == 2


# --- the end ----------------------------------------------------------------------------------------------------------------

def test_sigterm_lets_calls_finish(shop):
    shop.write()
    with shop.worker(slow(2.0)) as (worker, scripted):
        shop.publish("a", "b", "c")
        wait_until(lambda: len(scripted.requests) == 3, 15, "all are asked", worker.process)
        assert worker.stop() == 0
        assert [d["status"] for d in shop.read(count=3)] == ["decided"] * 3


def test_a_drain_ends_in_time_and_the_next_worker_goes_on(shop):
    shop.write(budget={"deadline_ms": 60000})
    with shop.worker(slow(30), worker={"drain_timeout_ms": 500}) as (worker, scripted):
        shop.publish("a")
        wait_until(lambda: len(scripted.requests) == 1, 15, "it is asked", worker.process)
        began = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began < 8
        assert shop.read() == []
    with shop.worker():
        assert [d["event"]["id"] for d in shop.read(count=1)] == ["o0"]


# --- health -----------------------------------------------------------------------------------------------------------------

def test_beyond_loopback_status_needs_a_token(shop):
    shop.write()
    port = free_port()
    for token, header, expected in ((None, None, 403), ("s3cret", None, 401), ("s3cret", "Bearer wrong", 401),
                                    ("s3cret", "Bearer s3cret", 200)):
        admin = {"listen": f"0.0.0.0:{port}", **({"token": token} if token else {})}
        with model.ScriptedModel() as scripted:
            worker = Worker(shop.directory, shop.settings(scripted.url, admin=admin))
            worker.admin = f"127.0.0.1:{port}"
            worker.start(ready=False)
            try:
                wait_until(worker.healthy, 10, "it lives", worker.process)
                request = urllib.request.Request(f"http://{worker.admin}/status", headers={"Authorization": header} if header else {})
                try:
                    status = urllib.request.urlopen(request, timeout=5).status
                except urllib.error.HTTPError as err:
                    status = err.code
                assert status == expected, (token, header)
                assert "s3cret" not in worker.log()
            finally:
                worker.kill()


def test_dumped_settings_hold_no_secret(shop):
    shop.write()
    conf = shop.directory / "secrets.cfg"
    conf.write_text(libconfig.dumps(shop.settings(
        "http://127.0.0.1:1", admin={"token": "s3cret"}, redis={"password": "s3cret"},
        kafka={"properties": ["sasl.password=s3cret", "socket.timeout.ms=5000"]})))
    shown = subprocess.run([paths.BINARY, "run", "-c", conf, "--dump-config"], capture_output=True, text=True, timeout=20)
    assert shown.returncode == 0, shown.stderr
    assert "s3cret" not in shown.stdout + shown.stderr
    assert "sasl.password=********" in shown.stdout and "socket.timeout.ms=5000" in shown.stdout


def test_metrics_say_what_happened(shop):
    shop.write()
    with shop.worker() as (worker, _):
        shop.publish("a", "b")
        shop.read(count=2)
        worker.wait_metric("verdict_commits_total", 1, outcome="committed")
        assert worker.metric("verdict_decisions_total", policy="orders.ops", status="decided") == 2
        assert worker.metric("verdict_model_calls_total", model="main", outcome="ok") == 2
        assert worker.metric("verdict_events_total") == 2
        assert worker.metric("verdict_policy_info", id="orders.ops", version="1") == 1
        wait_until(lambda: worker.metric("verdict_inflight") == 0, 5, "nothing is at work", worker.process)
        assert worker.metric("verdict_inflight_limit") == 2000
        partition, = worker.status()["partitions"]
        wait_until(lambda: worker.status()["partitions"][0]["base"] == 2, 5, "base moved", worker.process)
        assert partition["topic"] == shop.source
