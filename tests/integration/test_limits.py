"""Limits across decisions: what is left is shared by all workers, given back when nothing comes of it, and closed after a loss."""

import contextlib
import json
import subprocess
import time

import pytest

from support import libconfig, model, paths, records
from support.processes import wait_until
from support.producer import Producer, unique_id
from support.reader import Reader
from support.redis_server import RedisServer
from support.shop import Shop
from support.worker import Worker, settings


@pytest.fixture
def shop(broker, topics, binary, test_dir, redis):
    return Shop(broker, topics, test_dir, redis)


def order(shop, customer="c", **data):
    """One order; returns its id."""
    event = {"id": f"o{shop.sent}", "type": "order", "data": {"customer": customer, "n": shop.sent, **data}}
    Producer(shop.broker.bootstrap).send_one(shop.source, json.dumps(event).encode(), key=customer.encode())
    shop.sent += 1
    return event["id"]


def write(shop, limit=None, **changes):
    """Everything of an order is shipped at once if the limit "cap" has so much left, else held."""
    cap = {"key": "all", "window_s": 600, "max": 10, "measure": "event.data.amount", "when": "action == 'ship'",
           "on_exceed": "reject", **(limit or {})}
    shop.write(limits={"cap": {name: value for name, value in cap.items() if value is not None}}, **changes)


def decided(shop, count, topic="decisions.orders"):
    """By event."""
    return {d["event"]["id"]: d for d in shop.read(topic, count=count)}


def in_redis(shop, pattern="limit:*"):
    client = shop.redis.client()
    return {key.removeprefix(f"verdict:{shop.group}:"): client.hgetall(key) if "#" in key else None
            for key in client.keys(f"verdict:{shop.group}:{pattern}")}


def used(shop, key="limit:orders.ops:cap#all"):
    return int(in_redis(shop).get(key, {}).get("sum", 0))


# --- the boundary ---------------------------------------------------------------------------------------------------------

def test_what_fits_is_shipped_and_one_more_is_not(shop):
    write(shop)
    with shop.worker() as (worker, _):
        first, over, fits, none = [order(shop, amount=amount) for amount in (4, 7, 6, 1)]
        got = decided(shop, 4)
        assert worker.metric("verdict_limit_exceeded_total", policy="orders.ops", limit="cap") == 2
        wait_until(lambda: worker.status()["limits"]["state"] == "open", 5, "they are open", worker.process)
    assert [got[event]["action"] for event in (first, over, fits, none)] == ["ship", "hold", "ship", "hold"]
    assert got[first]["limits"] == [{"id": "cap", "key": "all", "used": 4, "max": 10}]
    assert got[fits]["limits"] == [{"id": "cap", "key": "all", "used": 10, "max": 10}]
    assert got[over]["limits"] == [] and got[over]["degraded_reason"] == "limit_exceeded"
    assert {"id": "limits.cap", "verdict": "pass", "headroom": 0} in got[fits]["rules"]
    assert used(shop) == 10


def test_the_model_is_told_what_is_left(shop):
    answers = iter([9, 3])
    write(shop, {"measure": "params.boxes", "on_exceed": "repair", "max": 3},
          actions={"ship": {"params": {"boxes": {"type": "integer", "min": 1, "max": 100}}}, "hold": {}},
          budget={"max_model_calls": 2})
    with shop.worker(lambda request: model.completion(model.answer_to(request, "ship", {"boxes": next(answers)}))) as (_, asked):
        order(shop)
        decision, = shop.read(count=1)
    assert (decision["status"], decision["params"], decision["usage"]["repairs"]) == ("decided", {"boxes": 3}, 1)
    assert "at most 3 left" in model.asked_text(asked.requests[1].body)


def test_max_comes_from_context(shop):
    shop.redis.client().hset("room:c", mapping={"beds": 5})
    write(shop, {"max": "int(room.beds) - 2", "key": "{event.data.customer}"},
          context={"room": {"redis": "HGETALL room:{event.data.customer}", "default": {}}})
    with shop.worker():
        fits, over = order(shop, amount=3), order(shop, amount=1)
        unknown = order(shop, customer="without", amount=1)  # no room.beds: it cannot be evaluated
        got = decided(shop, 3)
    assert [got[event]["action"] for event in (fits, over, unknown)] == ["ship", "hold", "hold"]
    assert {"id": "limits.cap", "verdict": "pass", "headroom": 0} in got[fits]["rules"]


def test_each_item_or_none(shop):
    write(shop, {"key": "{item.sku}", "each": "event.data.lines", "measure": "item.n", "max": 5})
    with shop.worker():
        first = order(shop, lines=[{"sku": "a", "n": 5}, {"sku": "b", "n": 2}])
        half = order(shop, lines=[{"sku": "b", "n": 3}, {"sku": "a", "n": 1}])
        rest = order(shop, lines=[{"sku": "b", "n": 1}, {"sku": "b", "n": 2}])
        got = decided(shop, 3)
    assert [got[event]["action"] for event in (first, half, rest)] == ["ship", "hold", "ship"]
    assert [row["used"] for row in got[rest]["limits"]] == [5, 5]
    assert used(shop, "limit:orders.ops:cap#a") == 5 and used(shop, "limit:orders.ops:cap#b") == 5


def test_a_window_ends(shop):
    write(shop, {"window_s": 2, "max": 1})
    with shop.worker():
        first, second = order(shop, amount=1), order(shop, amount=1)
        decided(shop, 2)
        time.sleep(2)
        third = order(shop, amount=1)
        got = decided(shop, 3)
    assert [got[event]["action"] for event in (first, second, third)] == ["ship", "hold", "ship"]


def test_shadow_reserves_nothing(shop):
    write(shop, mode="shadow")
    with shop.worker():
        order(shop, amount=11)
        decision, = shop.read("decisions.shadow", count=1)
    assert decision["action"] == "ship" and in_redis(shop) == {}


# --- the whole worker, killed ----------------------------------------------------------------------------------------------

@contextlib.contextmanager
def reserved_and_killed(shop, **changes):
    """A worker reserved 4 of 4, and died before its transaction; then another one, with changes to its policy."""
    write(shop, {"max": 4})
    kafka = {"commit_interval_ms": 60000, "transactional_id": shop.group, "session_timeout_ms": 6000,
             "transaction_timeout_ms": 5000}
    with shop.worker(kafka=kafka) as (worker, _):
        order(shop, amount=4)
        wait_until(lambda: used(shop) == 4, 20, "it is reserved", worker.process)
        worker.kill()
    if changes:
        write(shop, {"max": 4}, version=2, **changes)
    with shop.worker(kafka={**kafka, "commit_interval_ms": 100}):
        yield


def test_a_replay_reserves_nothing_twice(shop):
    with reserved_and_killed(shop):
        order(shop, customer="other", amount=1)
        got = decided(shop, 2)
    assert sorted(d["action"] for d in got.values()) == ["hold", "ship"]
    assert used(shop) == 4


def test_what_is_not_published_is_given_back(shop):
    with reserved_and_killed(shop, escalate={"all": {"when": "decision.action == 'ship'", "why": "Look at it."}}):
        review, = shop.read("decisions.review", count=1)
        wait_until(lambda: used(shop) == 0, 5, "it is given back")
    assert (review["status"], review["limits"]) == ("escalated", [])
    assert in_redis(shop) == {} and in_redis(shop, "reserved:*") == {}


def test_four_workers_use_a_limit_up_and_never_more(broker, binary, topics, test_dir, redis):
    """5,000 events, room for 500 of them, one of four workers killed in the middle and started again."""
    events, room = 5000, 500
    prefix = unique_id("cap")
    source = topics("in", partitions=8)
    names = {name: f"{prefix}.{name}" for name in ("decisions.orders", "review", "shadow", "audit", "dead-letter")}
    broker.create_topics(list(names.values()))
    sim = model.ModelSim(test_dir, "--latency", "uniform:200:600").start()
    folder = test_dir / "policies" / "orders"
    folder.mkdir(parents=True)
    (folder / "cap.cfg").write_text(libconfig.dumps({
        "policy": {"id": "orders.cap", "version": 1, "mode": "enforce"},
        "input": {"topics": [source], "when": "true", "key": "{event.id}"},
        "reasoning": {"goal": "Ship.", "show": ["/event/id"]},
        "actions": {"ship": {}, "hold": {}},
        "budget": {"deadline_ms": 60000, "max_model_calls": 1},
        "limits": {"cap": {"key": "all", "window_s": 86400, "max": room, "when": "action == 'ship'", "on_exceed": "reject"}},
        "fallback": {"action": "hold"}}))
    workers = [Worker(test_dir, settings(
        broker.bootstrap, redis.address, sim.url, [{"name": source, "format": "json"}], policies=test_dir / "policies",
        group=prefix, worker={"max_in_flight": 60},
        kafka={"transactional_id": f"{prefix}-{n}", "transaction_timeout_ms": 5000, "session_timeout_ms": 6000},
        output={"prefix": f"{prefix}.decisions", **{name.replace("-", "_"): names[name] for name in
                                                   ("review", "shadow", "audit", "dead-letter")}}), name=f"worker{n}")
        for n in range(4)]

    def reserved():
        return int(redis.client().hget(f"verdict:{prefix}:limit:orders.cap:cap#all", "sum") or 0)

    try:
        for worker in workers:
            worker.start(ready=False)
        for worker in workers:
            worker.wait_ready()
        producer = Producer(broker.bootstrap)
        for n in range(events):
            producer.send(source, {"id": f"e-{n}", "type": "order", "data": {}}, key=b"%d" % n)
        producer.flush()
        wait_until(lambda: reserved() >= room // 4, 30, "a part is used", workers[0].process, interval=0.005)
        workers[1].kill()
        at_kill = reserved()
        workers[1].start(ready=False)
        wait_until(lambda: broker.committed(prefix, source) == broker.end_offsets(source), 90, "all is decided",
                   workers[0].process, interval=0.5)
        for worker in workers:
            assert worker.stop() == 0
    finally:
        for worker in workers:
            worker.kill()
        sim.kill()
    with Reader(broker.bootstrap, [names["decisions.orders"]]) as reader:
        decisions = [records.check_decision(record) for record in reader.drain(timeout=60)]
    broker.delete_topics(list(names.values()))
    shipped = [d for d in decisions if d["action"] == "ship"]
    assert len(decisions) == events == len({d["decision_id"] for d in decisions})
    assert at_kill < room, "it was killed too late to show anything"
    assert len(shipped) <= room, "the limit was exceeded"
    assert len(shipped) >= room * 0.99, "too little of it was used"
    assert max(d["limits"][0]["used"] for d in shipped) <= room
    print(f"\nkilled at {at_kill} of {room} reserved; {len(shipped)} shipped")


def test_a_worker_that_comes_back_after_its_partition_was_taken_changes_nothing(shop, test_dir):
    """Paused while it asks, it wakes up past its deadline: its fallback must not give back what its successor has reserved."""
    write(shop, {"max": 4}, budget={"deadline_ms": 3000})
    kafka = {"session_timeout_ms": 6000, "transaction_timeout_ms": 5000}
    with model.ScriptedModel(lambda request: model.Reply(model.obedient(request), delay_s=1.5)) as scripted:
        first, second = [Worker(test_dir, shop.settings(scripted.url, kafka={**kafka, "transactional_id": f"{shop.group}-{name}"}),
                                name=name) for name in ("first", "second")]
        try:
            first.start()
            order(shop, amount=4)
            wait_until(lambda: scripted.requests, 20, "it is asked", first.process)
            first.pause()
            second.start()
            decision, = shop.read(count=1)
            assert decision["action"] == "ship" and used(shop) == 4
            first.resume()
            wait_until(lambda: "lost" in first.log() or first.status()["kafka"]["member_id"], 20, "it is back", first.process)
            time.sleep(2)
            assert used(shop) == 4, "a worker that had lost the partition gave it back"
            order(shop, customer="other", amount=1)
            assert [d["action"] for d in shop.read(count=2)] == ["ship", "hold"]
        finally:
            first.kill()
            second.kill()


# --- held for a later event ---------------------------------------------------------------------------------------------------

def write_rooms(shop, **limit):
    """Rooms are offered, and the offer is accepted or canceled by a later event of the customer."""
    kinds = ("offer", "accept", "cancel")
    room = {"key": "all", "hold_s": 600, "max": 10, "measure": "event.data.amount", "when": "action == 'offer'",
            "confirm": "action == 'accept'", "release": "action == 'cancel'", **limit}
    shop.write(actions={**{kind: {} for kind in kinds}, "hold": {}}, limits={"cap": room},
               shortcut={kind: {"when": f"event.data.kind == '{kind}'", "action": kind} for kind in kinds})


def settled(shop, count, held):
    """So many decisions are there, what they hold is applied, and so much of it counts."""
    shop.read(count=count)
    wait_until(lambda: in_redis(shop, "pending:*") and not any(
        ":" in name for name in shop.redis.client().hkeys(f"verdict:{shop.group}:pending:{shop.source}:0")
        if not name.startswith("@")), 10, "it is applied")
    wait_until(lambda: used(shop) == held, 5, f"{held} are held, not {used(shop)}")


def test_an_offer_holds_until_it_is_canceled(shop):
    write_rooms(shop)
    with shop.worker():
        order(shop, "a", kind="offer", amount=6)
        settled(shop, 1, 6)
        order(shop, "b", kind="offer", amount=5)
        over, = shop.read("decisions.review", count=1)
        order(shop, "a", kind="offer", amount=4)  # instead of the first
        settled(shop, 2, 4)
        order(shop, "b", kind="offer", amount=6)
        settled(shop, 3, 10)
        order(shop, "a", kind="cancel")
        settled(shop, 4, 6)
    assert (over["status"], over["degraded_reason"]) == ("escalated", "limit_exceeded")


def test_a_hold_ends_by_itself_unless_it_is_confirmed(shop):
    write_rooms(shop, hold_s=4)
    with shop.worker():
        order(shop, "a", kind="offer", amount=6)
        order(shop, "b", kind="offer", amount=3)
        settled(shop, 2, 9)
        order(shop, "a", kind="accept")
        settled(shop, 3, 9)
        time.sleep(4.1)
        order(shop, "c", kind="offer", amount=4)  # clears away what has ended
        settled(shop, 4, 10)
        order(shop, "a", kind="cancel")
        settled(shop, 5, 4)


def test_no_hold_is_lost_or_doubled_by_kill_9(shop):
    customers = 300
    write_rooms(shop, max=1000)
    producer = Producer(shop.broker.bootstrap)
    for n in range(customers):
        producer.send(shop.source, {"id": f"h{n}", "type": "order", "data": {"customer": f"c{n}", "n": n, "kind": "offer", "amount": 2}},
                      key=b"c%d" % n)
    producer.flush()
    kafka = {"transactional_id": shop.group, "session_timeout_ms": 6000, "transaction_timeout_ms": 5000, "commit_interval_ms": 20,
             "commit_outcomes": 20}
    for share in (0.2, 0.6):
        with shop.worker(kafka=kafka, worker={"max_in_flight": 30}) as (worker, _):
            wait_until(lambda: used(shop) >= 2 * customers * share, 40, "some are reserved", worker.process, interval=0.002)
            worker.kill()
    with shop.worker(kafka=kafka):
        decisions = shop.read(count=customers)
        settled(shop, customers, 2 * customers)
    amounts = in_redis(shop)["limit:orders.ops:cap#all"]
    assert len({d["key"] for d in decisions}) == customers
    assert [name[0] for name in amounts].count("h") == customers and not any(name.startswith("p ") for name in amounts)


# --- what Redis does not know -----------------------------------------------------------------------------------------------

def test_an_emptied_redis_closes_the_limits_for_one_window(shop):
    write(shop, {"window_s": 4}, budget={"deadline_ms": 1000})
    with shop.worker() as (worker, _):
        first = order(shop, amount=1)
        decided(shop, 1)
        shop.redis.client().flushall()
        unknown = order(shop, amount=1)  # gone, and nobody has decided yet what that means
        assert decided(shop, 2)[unknown]["degraded_reason"] == "limits_unavailable"
        wait_until(lambda: worker.status()["limits"]["state"] == "closed", 20, "it is noticed", worker.process)
        assert "limits: closed" in worker.status()["waiting_for"]
        assert worker.status()["limits"]["closed_until"] > worker.status()["limits"]["closed_since"]
        assert worker.metric("verdict_limits_closed") == 1
        closed = order(shop, amount=1)
        assert decided(shop, 3)[closed]["degraded_reason"] == "limits_closed"
        wait_until(lambda: worker.status()["limits"]["state"] == "open", 20, "the window is over", worker.process)
        after = order(shop, amount=1)
        got = decided(shop, 4)
        wait_until(lambda: "limits.open" in worker.log(), 2, "the log says so", worker.process)
        assert "limits.closed" in worker.log()
    assert [got[event]["action"] for event in (first, after)] == ["ship", "ship"]


def test_a_first_start_is_trusted_and_a_later_one_is_not(shop):
    write(shop)
    key = f"verdict:{shop.group}:epoch"
    with shop.worker() as (worker, _):
        wait_until(lambda: shop.redis.client().get(key) == "0", 10, "the first worker says so", worker.process)
        order(shop, amount=1)
        decided(shop, 1)
        assert worker.stop() == 0
    shop.redis.client().flushall()
    with shop.worker() as (worker, _):
        wait_until(lambda: worker.status()["limits"]["state"] == "closed", 20, "a loss while nobody ran is noticed", worker.process)
        assert int(shop.redis.client().get(key)) > 0


def test_redis_away_is_waited_for_until_the_deadline(shop, test_dir):
    server = RedisServer(test_dir / "own-redis").start()
    shop.redis = server
    write(shop, budget={"deadline_ms": 4000})
    try:
        with shop.worker(redis={"address": server.address}) as (worker, _):
            first = order(shop, amount=1)
            decided(shop, 1)
            server.pause()
            late = order(shop, amount=1)
            time.sleep(1.5)
            server.resume()
            assert decided(shop, 2)[late]["action"] == "ship", "it was waited for"
            server.pause()
            lost = order(shop, amount=1)
            assert decided(shop, 3)[lost]["degraded_reason"] == "limits_unavailable"
            server.resume()
    finally:
        server.kill()
    assert first != late


def test_a_fallback_that_needs_an_amount_is_escalated_without_redis(shop, test_dir):
    server = RedisServer(test_dir / "own-redis").start()
    write(shop, {"when": None}, budget={"deadline_ms": 1000})
    try:
        with shop.worker(redis={"address": server.address}) as (worker, _):
            wait_until(lambda: worker.status()["limits"]["state"] == "open", 10, "Redis is known", worker.process)
            server.pause()
            order(shop, amount=1)
            review, = shop.read("decisions.review", count=1)
    finally:
        server.kill()
    assert (review["status"], review["degraded_reason"]) == ("escalated", "limits_unavailable")
    assert review["usage"]["total_ms"] < 3000


# --- calls of a key ----------------------------------------------------------------------------------------------------------

def test_the_calls_of_a_key_end_at_their_number(shop):
    shop.write(budget={"per_key": {"window_s": 600, "max_model_calls": 2}})
    with shop.worker() as (_, asked):
        mine = [order(shop) for _ in range(3)]
        other = order(shop, customer="other")
        got = decided(shop, 4)
        assert len(asked.requests) == 3
    assert [got[event]["degraded_reason"] for event in (*mine, other)] == [None, None, "budget_per_key", None]
    assert got[mine[2]]["action"] == "hold" and got[mine[2]]["usage"]["model_calls"] == 0


def test_retries_count_and_what_was_not_needed_is_given_back(shop):
    failing = iter([True])
    shop.write(budget={"max_model_calls": 3, "per_key": {"window_s": 600, "max_model_calls": 3}})

    def script(request):
        return model.error(500, "broken") if next(failing, False) else model.obedient(request)

    with shop.worker(script) as (_, asked):
        events = [order(shop) for _ in range(3)]
        got = decided(shop, 3)
        assert len(asked.requests) == 3, "two for the first event, one for the second, none left for the third"
    assert [got[event]["degraded_reason"] for event in events] == [None, None, "budget_per_key"]


# --- without a worker -----------------------------------------------------------------------------------------------------------

def test_decide_looks_and_reserves_nothing(shop, binary, test_dir):
    write(shop, {"max": 3})
    event = test_dir / "event.json"
    event.write_text(json.dumps({"id": "e", "type": "order", "data": {"customer": "c", "n": 0, "amount": 3}}))
    answer = json.dumps({"action": "ship", "params": {}, "confidence": 0.9, "rationale": "", "evidence": []})

    def decide(*args):
        run = subprocess.run([binary, "decide", shop.policies / "ops.cfg", event, "--answer", answer, *args],
                             capture_output=True, text=True, timeout=30, cwd=paths.ROOT)
        assert run.returncode == 0, run.stderr
        return run.stdout

    with model.ScriptedModel() as scripted:
        conf = test_dir / "settings.cfg"
        conf.write_text(libconfig.dumps(shop.settings(scripted.url)))
        for _ in range(2):
            assert "3 of 3 used with this decision" in decide("-c", conf)
        assert in_redis(shop) == {} and "Without Redis" in decide()
        client = shop.redis.client()
        client.hset(f"verdict:{shop.group}:limit:orders.ops:cap#all", mapping={"sum": 1})
        assert "hold" in decide("-c", conf)
