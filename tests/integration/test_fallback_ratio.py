"""worker.max_fallback_ratio: a dead model stops intake rather than deciding everything by fallback, until it is back."""

import time

import pytest

from support import model
from support.processes import wait_until
from support.shop import Shop

GUARD = {"fallback_min_outcomes": 20, "fallback_probe_ms": 1000, "max_in_flight": 10}


@pytest.fixture
def shop(broker, topics, binary, test_dir, redis):
    return Shop(broker, topics, test_dir, redis)


def test_a_dead_model_stops_intake_until_it_is_back_and_nothing_is_lost(shop):
    alive = []

    def script(request):
        return model.obedient(request) if alive else model.Reply(reset=True)

    shop.write(budget={"deadline_ms": 3000})
    with shop.worker(script, worker=GUARD) as (worker, scripted):
        shop.publish(*(f"c{n}" for n in range(200)))
        wait_until(lambda: worker.metric("verdict_intake_paused") == 1, 20, "intake is paused", worker.process)
        wait_until(lambda: worker.status()["work"]["in_flight"] == 0, 20, "what was in flight is decided", worker.process)
        decided = worker.status()["work"]["settled"]
        assert 20 <= decided <= 20 + 10 + 3, "the sample, what was in flight, and one round of probes"
        status = worker.status()
        assert status["work"]["intake_paused"] and status["work"]["fallback_ratio"] > 0.5
        assert "fallbacks: 100 %" in status["waiting_for"] and "intake is paused" in status["waiting_for"]
        assert "error intake.paused" in worker.log()
        time.sleep(3.2)
        probed = worker.status()["work"]["settled"] - decided
        assert 6 <= probed <= 12, "three a second"
        alive.append(True)
        decisions = shop.read(count=200)
        assert sorted(d["event"]["id"] for d in decisions) == sorted(f"o{n}" for n in range(200))
        statuses = [d["status"] for d in decisions]
        assert statuses.count("fallback") < 80 and statuses.count("decided") > 120
        assert "info intake.resumed" in worker.log()
        wait_until(lambda: worker.metric("verdict_intake_paused") == 0, 5, "intake goes on", worker.process)
    assert len(shop.read()) == 200, "exactly one decision each"


def test_a_ratio_of_one_lets_fallbacks_decide_all(shop):
    shop.write()
    with shop.worker(lambda request: model.Reply(reset=True), worker={**GUARD, "max_fallback_ratio": 1}) as (worker, _):
        shop.publish(*(f"c{n}" for n in range(60)))
        assert [d["status"] for d in shop.read(count=60)] == ["fallback"] * 60
        assert worker.metric("verdict_intake_paused") == 0


def test_the_kill_switch_is_not_an_outage(shop, test_dir):
    switch = test_dir / "stop"
    switch.touch()
    shop.write()
    with shop.worker(worker={**GUARD, "kill_switch_file": str(switch)}) as (worker, _):
        wait_until(lambda: worker.status()["work"]["kill_switch"], 5, "the switch is seen", worker.process)
        shop.publish(*(f"c{n}" for n in range(60)))
        assert [d["degraded_reason"] for d in shop.read(count=60)] == ["kill_switch"] * 60
        assert worker.status()["work"]["outcomes"] == 0


def test_shadow_fallbacks_run_no_business(shop):
    shop.write(mode="shadow")
    with shop.worker(lambda request: model.Reply(reset=True), worker=GUARD) as (worker, _):
        shop.publish(*(f"c{n}" for n in range(60)))
        assert len(shop.read("decisions.shadow", count=60)) == 60
        assert worker.metric("verdict_intake_paused") == 0


@pytest.mark.parametrize("changes, reason", [
    ({"limits": {"cap": {"key": "all", "window_s": 86400, "max": 5, "when": "action == 'ship'",
                         "on_exceed": "reject"}}}, "limit_exceeded"),
    ({"budget": {"per_key": {"max_model_calls": 5, "window_s": 86400}}}, "budget_per_key"),
], ids=["limit", "budget"])
def test_a_limit_that_is_used_up_is_not_an_outage(shop, changes, reason):
    """A cap that is reached by noon, or one customer over a budget, must not stop everybody's events for the day."""
    shop.write(**changes)
    with shop.worker(worker=GUARD) as (worker, _):
        shop.publish(*["c"] * 60)
        decisions = shop.read(count=60)
        assert [d["degraded_reason"] for d in decisions].count(reason) == 55
        assert worker.metric("verdict_intake_paused") == 0
