"""What was paid for once is not paid for again: answers survive kill -9, SIGTERM and a rebalance between receipt and commit.

Real broker, real Redis, a model that counts how often it was asked about each event.
"""

import collections
import contextlib
import json
import re
import time

import pytest

from support import model
from support.processes import wait_until
from support.redis_server import RedisServer
from support.shop import Shop
from support.worker import Worker

# Decisions wait for their commit until the test is done with the worker.
NEVER_COMMIT = {"commit_interval_ms": 60000, "commit_outcomes": 100000, "instance_id": "a"}
SOON = {"instance_id": "a"}


@pytest.fixture
def shop(broker, topics, binary, test_dir, redis):
    return Shop(broker, topics, test_dir, redis)


class Counting:
    """A model that notes which event each request is about, and answers as `script` says."""

    def __init__(self, script=model.obedient):
        self.script = script
        self.asked = collections.Counter()
        self.bodies = collections.defaultdict(list)

    def __call__(self, request):
        n = int(re.search(r'"n":(\d+)', model.asked_text(request))[1])
        self.asked[n] += 1
        self.bodies[n].append(request)
        return self.script(request)


@contextlib.contextmanager
def serving(script=model.obedient):
    counting = Counting(script)
    with model.ScriptedModel(counting) as served:
        counting.url = served.url
        yield counting


def start(shop, counting, name="worker", **changes):
    return Worker(shop.directory, shop.settings(counting.url, **changes), name=name).start()


def entries(shop):
    client = shop.redis.client()
    return {key: client.hgetall(key) for key in client.scan_iter("verdict:*journal:*")}


def answered(shop, count, step="1"):
    return sum(step in entry for entry in entries(shop).values()) >= count


def events(decisions):
    return sorted(d["event"]["id"] for d in decisions)


def audits(shop, count):
    return [json.loads(record.value) for record in shop.read("decisions.audit", count=count)]


PRICED = {"main": {"price_input": 1000000, "price_output": 5000000}}


def killed_before_commit(shop, counting, count=8, **changes):
    """A worker that received an answer for each of its events, and died before it committed one."""
    worker = start(shop, counting, kafka=NEVER_COMMIT, models=PRICED, **changes)
    try:
        shop.publish(*(f"c{n}" for n in range(count)))
        wait_until(lambda: answered(shop, count), 20, "all answers are journaled", worker.process)
    finally:
        worker.kill()
    assert counting.asked == {n: 1 for n in range(count)}
    return worker


# --- the three ways to lose a worker --------------------------------------------------------------------------------

def test_kill_9_between_answer_and_commit_pays_for_nothing_twice(shop):
    shop.write()
    with serving() as counting:
        killed_before_commit(shop, counting)
        worker = start(shop, counting, kafka=SOON)
        try:
            decisions = shop.read(count=8)
            assert events(decisions) == sorted(f"o{n}" for n in range(8))
            assert counting.asked == {n: 1 for n in range(8)}
            assert worker.metric("verdict_journal_total", event="hit") == 8
            assert worker.metric("verdict_model_calls_total") == 0
            assert worker.status()["journal"]["hit"] == 8
            assert {d["status"] for d in decisions} == {"decided"}
            for audit in audits(shop, 8):
                assert (audit["reasoning"]["journal_hits"], audit["reasoning"]["cost_microusd"]) == (1, 0)
                assert audit["reasoning"]["steps"][0]["cost_microusd"] > 0, "what it cost when it was asked"
        finally:
            worker.kill()
        assert events(shop.read()) == sorted(f"o{n}" for n in range(8)), "exactly one decision each"


def test_sigterm_while_commits_hang_pays_for_nothing_twice(shop, brokers, test_dir):
    """SIGTERM: the drain's time-out passes while some calls are out; those that were answered are not asked again."""
    release = []
    shop.write(budget={"deadline_ms": 60000})

    def script(request):
        while '"n":7' in model.asked_text(request) and not release:
            time.sleep(0.05)
        return model.obedient(request)

    with serving(script) as counting:
        worker = start(shop, counting, kafka=NEVER_COMMIT, worker={"drain_timeout_ms": 500})
        try:
            shop.publish(*(f"c{n}" for n in range(8)))
            wait_until(lambda: answered(shop, 7), 20, "seven answers are journaled", worker.process)
            wait_until(lambda: counting.asked[7] == 1, 10, "the eighth is asked", worker.process)
            assert worker.stop() == 0
        finally:
            worker.kill()
        release.append(True)
        worker = start(shop, counting, kafka=SOON)
        try:
            assert events(shop.read(count=8)) == sorted(f"o{n}" for n in range(8))
            assert counting.asked == {**{n: 1 for n in range(7)}, 7: 2}
        finally:
            worker.kill()
        assert len(shop.read()) == 8, "exactly one decision each"


def test_a_rebalance_between_answer_and_commit_pays_for_nothing_twice(broker, topics, binary, test_dir, redis):
    shop = Shop(broker, topics, test_dir, redis)
    shop.source = topics("two", partitions=2)
    shop.write(budget={"deadline_ms": 60000})
    kafka = {"commit_interval_ms": 60000, "commit_outcomes": 100000, "transactional_id": f"{shop.group}-a"}
    late = []

    def script(request):
        if '"n":15' in model.asked_text(request):
            late.append(time.monotonic())
            return model.Reply(model.obedient(request), delay_s=6.0)
        return model.obedient(request)

    with serving(script) as counting:
        first = start(shop, counting, "first", kafka=kafka)
        second = None
        try:
            shop.publish(*(f"c{n}" for n in range(16)))
            wait_until(lambda: answered(shop, 15), 20, "all but one answer are journaled", first.process)
            second = start(shop, counting, "second", kafka={"transactional_id": f"{shop.group}-b"})
            wait_until(lambda: len(second.status()["partitions"]) == 1, 40, "it has its share", second.process)
            assert first.stop() == 0
            decisions = shop.read(count=16)
            assert events(decisions) == sorted(f"o{n}" for n in range(16))
            assert all(counting.asked[n] == 1 for n in range(15)), counting.asked
        finally:
            first.kill()
            if second is not None:
                second.kill()
        assert len(shop.read()) == 16, "exactly one decision each"


def test_an_answer_that_comes_after_its_partition_went_is_kept_for_the_next_owner(broker, topics, binary, test_dir, redis):
    """The call is not cut off: who decides next finds what it said."""
    shop = Shop(broker, topics, test_dir, redis)
    shop.source = topics("two", partitions=2)
    shop.write(budget={"deadline_ms": 60000, "max_model_calls": 2}, input={"max_queue_per_key": 100})

    def script(request):
        return model.Reply(model.obedient(request), delay_s=4.0)

    with serving(script) as counting:
        first = start(shop, counting, "first", kafka={"transactional_id": f"{shop.group}-a"})
        second = None
        try:
            shop.publish(*(f"c{n}" for n in range(12)))
            wait_until(lambda: len(counting.asked) == 12, 20, "all are asked", first.process)
            second = start(shop, counting, "second", kafka={"transactional_id": f"{shop.group}-b"})
            assert events(shop.read(count=12)) == sorted(f"o{n}" for n in range(12))
            status = first.status()["journal"]
            taken = sum(times > 1 for times in counting.asked.values())
            assert first.metric("verdict_journal_total", event="late") == status["late"] >= 1, (status, taken)
            assert status["orphaned"] == 0
        finally:
            first.kill()
            if second is not None:
                second.kill()
        assert len(shop.read()) == 12, "exactly one decision each"


# --- the same things are seen again ------------------------------------------------------------------------------------

def test_the_second_run_sees_what_the_first_saw_and_sends_the_same_bytes(shop):
    """The clock and the context of the first run count, though both have changed since; a refused answer is asked about in the
    same words."""
    shop.write(context={"profile": {"redis": "HGETALL profile:{event.data.customer}", "default": {}}},
               reasoning={"goal": "Decide.", "show": ["/event/data/n", "/profile", "/day"]},
               let={"day": "string(now)"},
               actions={"ship": {"require": {"never": {"expr": "event.data.n < 0", "why": "No."}}}},
               budget={"max_model_calls": 2, "max_repairs": 1, "deadline_ms": 60000})
    shop.redis.client().hset("profile:c0", "tier", "gold")
    stuck = [True]

    def script(request):
        told = len(request["messages"]) > 2
        if told and stuck:
            time.sleep(30)
        return model.completion(model.answer_to(request, "hold" if told else "ship"))

    with serving(script) as counting:
        worker = start(shop, counting, kafka=NEVER_COMMIT)
        try:
            shop.publish("c0")
            wait_until(lambda: counting.asked[0] == 2, 20, "the repair is asked for", worker.process)
        finally:
            worker.kill()
        stuck.clear()
        shop.redis.client().hset("profile:c0", "tier", "lead")
        time.sleep(1.1)
        worker = start(shop, counting, kafka=SOON)
        try:
            decision, = shop.read(count=1)
        finally:
            worker.kill()
        first, repair, again = counting.bodies[0]
        assert repair == again, "the same bytes"
        assert "gold" in model.asked_text(again) and "lead" not in model.asked_text(again)
        assert (decision["action"], decision["usage"]["model_calls"]) == ("hold", 2)
        audit, = audits(shop, 1)
        assert audit["context"]["profile"] == {"tier": "gold"}
        assert [s["from_journal"] for s in audit["reasoning"]["steps"]] == [True, False]


def looking_up(request):
    """A model that looks at the stock before it decides."""
    if any(m["role"] == "tool" for m in request["messages"]):
        return model.completion(model.answer_to(request, "ship"))
    call = {"id": "call_1", "type": "function", "function": {"name": "stock", "arguments": '{"warehouse":"north"}'}}
    return model.completion(tool_calls=[call], finish_reason="tool_calls")


def with_a_tool(shop):
    shop.write(tools={"stock": {"why": "What a warehouse has.", "redis": "GET stock:{args.warehouse}",
                                "args": {"warehouse": {"type": "string", "enum": ["north", "south"]}}}},
               budget={"max_model_calls": 3, "max_tool_calls": 2, "deadline_ms": 60000})
    shop.redis.client().set("stock:north", "41 crates")


def test_what_a_tool_said_is_said_again(shop):
    """The stock has changed since the model was told; the second run tells it the same, and pays for the first answer no more."""
    with_a_tool(shop)
    stuck = [True]

    def script(request):
        answer = looking_up(request)
        if stuck and any(m["role"] == "tool" for m in request["messages"]):
            time.sleep(30)
        return answer

    with serving(script) as counting:
        worker = start(shop, counting, kafka=NEVER_COMMIT)
        try:
            shop.publish("c0")
            wait_until(lambda: counting.asked[0] == 2, 20, "it was told the stock", worker.process)
        finally:
            worker.kill()
        stuck.clear()
        shop.redis.client().set("stock:north", "17 crates")
        worker = start(shop, counting, kafka=SOON)
        try:
            decision, = shop.read(count=1)
        finally:
            worker.kill()
        assert decision["status"] == "decided"
        first, told, again = counting.bodies[0]
        assert told == again, "the same bytes"
        assert "41 crates" in json.dumps(again) and "17 crates" not in json.dumps(again)


def test_what_a_tool_said_in_answer_to_another_request_is_forgotten(shop):
    with_a_tool(shop)
    with serving(looking_up) as counting:
        worker = start(shop, counting, kafka=NEVER_COMMIT)
        try:
            shop.publish("c0")
            wait_until(lambda: answered(shop, 1, step="2"), 20, "it is decided", worker.process)
        finally:
            worker.kill()
        shop.redis.client().set("stock:north", "17 crates")
        worker = start(shop, counting, kafka=SOON, models={"main": {"temperature": "omit"}})
        try:
            assert shop.read(count=1)[0]["status"] == "decided"
        finally:
            worker.kill()
        assert counting.asked[0] == 4
        assert "17 crates" in json.dumps(counting.bodies[0][3]) and "41 crates" not in json.dumps(counting.bodies[0][3])


def test_another_policy_ignores_the_entry(shop):
    shop.write()
    with serving() as counting:
        killed_before_commit(shop, counting, count=3)
        shop.write(version=2)
        worker = start(shop, counting, kafka=SOON)
        try:
            assert {d["policy_version"] for d in shop.read(count=3)} == {2}
            assert counting.asked == {n: 2 for n in range(3)}
            assert worker.metric("verdict_journal_total", event="other_policy") == 3
            assert worker.metric("verdict_journal_total", event="hit") == 0
        finally:
            worker.kill()


def test_an_answer_to_another_request_is_ignored(shop):
    shop.write()
    with serving() as counting:
        killed_before_commit(shop, counting, count=3)
        worker = start(shop, counting, kafka=SOON, models={"main": {"temperature": "omit"}})
        try:
            assert len(shop.read(count=3)) == 3
            assert counting.asked == {n: 2 for n in range(3)}
            assert worker.metric("verdict_journal_total", event="other_request") == 3
        finally:
            worker.kill()


def test_what_stands_in_redis_is_judged_like_any_answer(shop):
    """Garbage and forged entries do no harm: unreadable ones are counted, and a forged answer still has to pass the rules."""
    shop.write()
    with serving() as counting:
        killed_before_commit(shop, counting, count=3)
        client = shop.redis.client()
        keys = sorted(entries(shop))
        client.hset(keys[0], "1", "{not json")
        client.hset(keys[1], "0", json.dumps({"v": 1}))
        kept = json.loads(client.hget(keys[2], "1"))
        client.hset(keys[2], "1", json.dumps({**kept, "text": json.dumps({"action": "wire_money", "params": {}})}))
        worker = start(shop, counting, kafka=SOON)
        try:
            decisions = shop.read(count=3)
            assert {d["action"] for d in decisions} <= {"ship", "hold"}
            assert worker.metric("verdict_journal_total", event="unreadable") == 1
        finally:
            worker.kill()
        assert len(shop.read()) == 3


# --- without it ----------------------------------------------------------------------------------------------------------

def test_an_emptied_redis_means_asking_again(shop):
    shop.write()
    with serving() as counting:
        killed_before_commit(shop, counting, count=3)
        shop.redis.client().flushall()
        worker = start(shop, counting, kafka=SOON)
        try:
            decisions = shop.read(count=3)
            assert {d["status"] for d in decisions} == {"decided"}
            assert counting.asked == {n: 2 for n in range(3)}
        finally:
            worker.kill()
        assert len(shop.read()) == 3


def test_without_redis_reasoning_goes_on_and_says_so(shop, test_dir):
    server = RedisServer(test_dir / "own-redis").start()
    shop.write()
    with serving() as counting:
        worker = start(shop, counting, redis={"address": server.address})
        try:
            shop.publish("c0")
            shop.read(count=1)
            server.kill()
            shop.publish("c1")
            assert [d["status"] for d in shop.read(count=2)] == ["decided"] * 2
            wait_until(lambda: worker.metric("verdict_journal_total", event="failed") > 0, 10, "it is counted", worker.process)
            wait_until(lambda: "away" in worker.status()["journal"]["state"], 5, "status says so", worker.process)
            assert worker.log().count("journal.away") == 1
            server.start()
            wait_until(lambda: worker.status()["redis"]["state"] == "up", 15, "Redis is seen", worker.process)
            shop.publish("c2")
            shop.read(count=3)
            wait_until(lambda: worker.status()["journal"]["state"] == "on", 10, "it is back", worker.process)
        finally:
            worker.kill()
            server.kill()


def test_nothing_is_written_where_no_model_is_asked(shop):
    shop.write(shortcut={"all": {"when": "true", "action": "hold"}})
    with serving() as counting:
        worker = start(shop, counting)
        try:
            shop.publish("c0", "c1")
            assert {d["decided_by"] for d in shop.read(count=2)} == {"shortcut"}
        finally:
            worker.kill()
        assert entries(shop) == {}


def test_entries_go_after_their_time(shop):
    shop.write()
    with serving() as counting:
        worker = start(shop, counting, redis={"journal_ttl_s": 100})
        try:
            shop.publish("c0")
            shop.read(count=1)
            wait_until(lambda: answered(shop, 1), 10, "it is journaled", worker.process)
            key, = entries(shop)
            assert 0 < shop.redis.client().ttl(key) <= 100
        finally:
            worker.kill()


def test_markers_are_the_groups_own_secret(shop):
    """Made once, kept in Redis, the same after a restart; another group has another."""
    shop.write()
    with serving() as counting:
        start(shop, counting, kafka=SOON).kill()
        client = shop.redis.client()
        keys = {key: client.get(key) for key in client.scan_iter("*key:*")}
        assert {key.rsplit(":", 1)[1] for key in keys} == {"marker", "redact"}
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in keys.values())
        worker = start(shop, counting, kafka=SOON)
        try:
            wait_until(lambda: worker.status()["redis"]["keys_shared"], 10, "the keys are read", worker.process)
        finally:
            worker.kill()
        assert {key: client.get(key) for key in keys} == keys


def test_without_the_journal_the_same_crash_pays_twice(shop):
    """The negative control of this file."""
    shop.write()
    with serving() as counting:
        worker = start(shop, counting, kafka=NEVER_COMMIT, redis={"journal": False})
        try:
            shop.publish("c0", "c1")
            wait_until(lambda: worker.status()["work"]["settled"] == 2, 20, "both are decided", worker.process)
        finally:
            worker.kill()
        worker = start(shop, counting, kafka=SOON, redis={"journal": False})
        try:
            assert len(shop.read(count=2)) == 2
        finally:
            worker.kill()
        assert counting.asked == {0: 2, 1: 2}
