"""Quotas that all workers of a group share: exact at their boundary, in Redis, with what happens when it is full or away."""

import contextlib

import pytest

from support import model
from support.processes import wait_until
from support.redis_server import RedisServer
from support.shop import Shop
from support.worker import Worker


@pytest.fixture
def shop(broker, topics, binary, test_dir, redis):
    return Shop(broker, topics, test_dir, redis)


@contextlib.contextmanager
def workers(shop, count, quota, script=model.obedient, **changes):
    with model.ScriptedModel(script) as served:
        started = []
        try:
            for i in range(count):
                models = {"main": {"quota": quota, **changes.get("model", {})}}
                conf = shop.settings(served.url, kafka={"transactional_id": f"{shop.group}-{i}"}, models=models,
                                     **{k: v for k, v in changes.items() if k != "model"})
                started.append(Worker(shop.directory, conf, name=f"worker-{i}").start())
            yield started, served
        finally:
            for worker in started:
                worker.kill()


def statuses(decisions):
    found = [d["degraded_reason"] or d["status"] for d in decisions]
    return {status: found.count(status) for status in set(found)}


def quota_of(worker):
    return worker.status()["models"][0]["quota"]


def test_exactly_n_pass_at_once_and_the_rest_fall_back_in_time(shop):
    shop.write(budget={"deadline_ms": 4000})
    with workers(shop, 1, {"requests_per_minute": 5}) as ((worker,), served):
        shop.publish(*(f"c{n}" for n in range(12)))
        assert statuses(shop.read(count=12)) == {"decided": 5, "quota": 7}
        assert len(served.requests) == 5
        wait_until(lambda: quota_of(worker)["denied"] == 7, 5, "status is of now", worker.process)
        quota = quota_of(worker)
        assert (quota["requests_per_minute"], quota["granted"], quota["counted"]) == (5, 5, "for the group")
        assert 0 < quota["wait_ms"] <= 12000


def test_the_next_one_waits_for_its_share(shop):
    """60 a minute: the burst goes at once, each further request a second later; the wait is counted."""
    shop.write(budget={"deadline_ms": 20000})
    with workers(shop, 1, {"requests_per_minute": 60}) as ((worker,), served):
        shop.publish(*(f"c{n}" for n in range(63)))
        assert statuses(shop.read(count=63)) == {"decided": 63}
        times = sorted(r.mono_s for r in served.requests)
        assert times[59] - times[0] < 1.0, "sixty at once"
        assert 1.7 < times[62] - times[0] < 6.0, "then one a second"
        assert worker.metric("verdict_wait_seconds_total", reason="model_quota") > 1.0


def test_two_workers_share_one_quota(broker, topics, binary, test_dir, redis):
    shop = Shop(broker, topics, test_dir, redis)
    shop.source = topics("two", partitions=2)
    shop.write(budget={"deadline_ms": 3000})
    with workers(shop, 2, {"requests_per_minute": 6}) as (pair, served):
        wait_until(lambda: all(len(w.status()["partitions"]) == 1 for w in pair), 40, "each has a partition")
        shop.publish(*(f"c{n}" for n in range(40)))
        assert statuses(shop.read(count=40)) == {"decided": 6, "quota": 34}
        assert len(served.requests) == 6
        wait_until(lambda: sum(quota_of(w)["granted"] for w in pair) == 6, 5, "status says so")


def test_a_quota_of_money_stops_calls(shop):
    """The estimate is reserved, the real cost stays: the sum never passes the quota by more than one call is off its estimate."""
    shop.write(budget={"deadline_ms": 1500})
    prices = {"price_input": 1000000, "price_output": 1000000}  # a micro-USD a token; the model says 120 tokens a call
    with workers(shop, 1, {"cost_microusd_per_hour": 6000}, model=prices) as ((worker,), served):
        asked = 0
        for n in range(60):
            shop.publish(f"c{n}")
            shop.read(count=n + 1)
            if len(served.requests) == asked:
                break
            asked = len(served.requests)
        spent = worker.metric("verdict_cost_microusd_total")
        assert spent == 120 * asked <= 6000
        assert asked >= 20, "the estimate of what was used gave way to the truth"
        assert statuses(shop.read(count=asked + 1)) == {"decided": asked, "quota": 1}


def test_without_redis_each_worker_counts_alone_and_says_so(shop, test_dir):
    server = RedisServer(test_dir / "own-redis").start()
    shop.write(budget={"deadline_ms": 1500})
    with workers(shop, 1, {"requests_per_minute": 30}, redis={"address": server.address}) as ((worker,), served):
        server.kill()
        shop.publish(*(f"c{n}" for n in range(35)))
        assert statuses(shop.read(count=35)) == {"decided": 30, "quota": 5}
        wait_until(lambda: quota_of(worker)["counted"] == "by this worker alone: Redis is away", 5, "status says so")
        assert worker.log().count("quota.alone") == 1
        server.start()
        wait_until(lambda: worker.status()["redis"]["state"] == "up", 15, "Redis is seen", worker.process)
        wait_until(lambda: quota_of(worker)["wait_ms"] == 0, 5, "its own count has room", worker.process)
        shop.publish("again")
        assert statuses(shop.read(count=36)) == {"decided": 31, "quota": 5}
        wait_until(lambda: quota_of(worker)["counted"] == "for the group", 5, "status says so")
    server.kill()


def test_an_error_uses_no_tokens(shop):
    """A request that the provider refused is a request, but no tokens."""
    shop.write(budget={"deadline_ms": 3000})
    replies = [model.error(400, "bad") for _ in range(6)] + [model.obedient]

    def script(request):
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        return reply(request) if callable(reply) else reply

    # One request is estimated at some 1,500 tokens: two at once would not fit.
    with workers(shop, 1, {"tokens_per_minute": 2500}, script) as ((worker,), served):
        for n in range(7):
            shop.publish(f"c{n}")
            shop.read(count=n + 1)
        assert len(served.requests) == 7


def test_a_quota_of_money_needs_prices(shop):
    shop.write()
    worker = Worker(shop.directory, shop.settings("http://127.0.0.1:1", models={"main": {"quota": {"cost_microusd_per_hour": 5}}}))
    worker.start(ready=False)
    wait_until(lambda: not worker.running(), 10, "it ends")
    assert "a quota of money and no prices" in worker.log()
