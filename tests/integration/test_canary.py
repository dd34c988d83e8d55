"""A canary over the wire: which version decides which key is computable by anyone, and a reload moves it."""

import hashlib
import json
import signal
import subprocess

import pytest

from support.producer import Producer
from support.shop import Shop

KEYS = 1000


@pytest.fixture
def shop(broker, topics, binary, test_dir, redis):
    return Shop(broker, topics, test_dir, redis)


def share_of(key, policy_id="orders.ops"):
    """The rule that policies/README.md states."""
    return int.from_bytes(hashlib.sha256(policy_id.encode() + b"\0" + key.encode()).digest()[:8], "big") % 10000


def write_pair(shop, percent):
    """The current version ships everything, the candidate holds everything; neither asks a model."""
    shop.write("ops.cfg", version=3, mode="canary", shortcut={"all": {"when": "true", "action": "ship"}},
               canary={"percent": percent, "candidate": "next.cfg"})
    shop.write("next.cfg", version=4, shortcut={"all": {"when": "true", "action": "hold"}})


def publish(shop, keys):
    producer = Producer(shop.broker.bootstrap)
    for key in keys:
        event = {"id": f"o{shop.sent}", "type": "order", "data": {"customer": key, "n": shop.sent}}
        producer.send(shop.source, json.dumps(event).encode(), key=key.encode())
        shop.sent += 1
    producer.flush()


def check(decisions, percent):
    for d in decisions:
        candidate = share_of(d["key"]) < percent * 100
        assert (d["mode"], d["policy_version"], d["action"]) == (("canary", 4, "hold") if candidate else ("enforce", 3, "ship"))
    return sum(d["mode"] == "canary" for d in decisions)


def test_each_key_has_the_version_that_its_hash_says_and_a_reload_moves_percent(shop):
    keys = [f"cus_{i}" for i in range(KEYS)]
    write_pair(shop, 12.5)
    with shop.worker() as (worker, scripted):
        publish(shop, keys)
        first = shop.read(count=KEYS)
        chosen = check(first, 12.5)
        assert 80 <= chosen <= 170, "an eighth of 1000, within four standard deviations"
        assert worker.metric("verdict_canary_decisions_total", policy="orders.ops", status="decided") == chosen
        assert worker.metric("verdict_decisions_total", policy="orders.ops", status="decided") == KEYS
        assert worker.metric("verdict_policy_info", id="orders.ops", version="3") == 1
        assert worker.metric("verdict_policy_info", id="orders.ops", version="4") == 1
        shown = {p["version"]: p for p in worker.status()["policies"]}
        assert (shown[3]["mode"], shown[3]["canary_percent"], shown[4]["mode"]) == ("enforce", 12.5, "canary")
        assert {d["policy_hash"] for d in first} == {shown[3]["hash"], shown[4]["hash"]}

        write_pair(shop, 50)
        worker.process.signal(signal.SIGHUP)
        worker.wait_metric("verdict_policy_reloads_total", 1, outcome="swapped")
        publish(shop, keys)
        both = shop.read(count=2 * KEYS)
        assert check(both[KEYS:], 50) > chosen
        assert [p["canary_percent"] for p in worker.status()["policies"] if "canary_percent" in p] == [50]
        for key in keys[:50]:  # one key, one order, whichever version decided
            mine = [int(d["event"]["id"][1:]) for d in both if d["key"] == key]
            assert mine == sorted(mine)
        assert scripted.requests == []


def test_a_candidate_whose_own_cases_fail_is_not_let_in(shop):
    write_pair(shop, 5)
    with shop.worker() as (worker, _):
        write_pair(shop, 90)
        (shop.policies / "next.cases.json").write_text(json.dumps([{
            "name": "ships", "event": {"type": "order", "data": {"customer": "c", "n": 1}},
            "model": [], "expect": {"status": "decided", "action": "ship"}}]))
        worker.process.signal(signal.SIGHUP)
        worker.wait_metric("verdict_policy_reloads_total", 1, outcome="refused")
        assert "cases fail" in worker.log()
        assert [p["canary_percent"] for p in worker.status()["policies"] if "canary_percent" in p] == [5]


def test_check_test_and_decide_know_candidates(shop, binary):
    write_pair(shop, 5)
    current, candidate = shop.policies / "ops.cfg", shop.policies / "next.cfg"

    def verdict(*args):
        done = subprocess.run([binary, *args], capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    for path in (shop.policies, current):
        assert verdict("check", path) == (0, "2 policies, 0 schemas: no errors\n")
    case = [{"name": "it holds", "event": {"type": "order", "data": {"customer": "c", "n": 1}}, "model": [], "expect": {"status": "decided", "action": "hold"}}]
    candidate.with_suffix(".cases.json").write_text(json.dumps(case))
    code, said = verdict("test", shop.policies)
    assert code == 0 and f"{candidate}: 1 of 1 cases pass" in said
    event = shop.directory / "event.json"
    event.write_text(json.dumps({"type": "order", "id": "o", "data": {"customer": "c", "n": 1}}))
    assert verdict("decide", current, event)[0] == 0
    candidate.write_text(candidate.read_text().replace("version = 4", "version = 3"))
    code, said = verdict("check", current)
    assert code == 78 and said.count("error:") == 1 and "a candidate with the version 3" in said
