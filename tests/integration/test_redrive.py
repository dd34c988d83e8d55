"""`verdict redrive`: dead letters go back, are decided by the policy that gave them up, and by no other."""

import subprocess

import pytest

from support import libconfig, paths, records
from support.shop import Shop
from support.reader import Reader


@pytest.fixture
def shop(broker, topics, binary, test_dir, redis):
    return Shop(broker, topics, test_dir, redis)


def redrive(shop, *options):

    conf = shop.directory / "redrive.cfg"
    conf.write_text(libconfig.dumps(shop.settings("http://127.0.0.1:1")))
    done = subprocess.run([paths.BINARY, "redrive", "-c", conf, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_dead_letter_is_decided_after_its_cause_is_gone(shop, redis):
    profile = {"redis": "HGETALL profile:{event.data.customer}", "required": True}
    shop.write(context={"profile": profile})
    shop.write("other.cfg", policy_id="orders.other")
    with shop.worker() as (worker, _):
        shop.publish("c1")
        first, = shop.read(count=1)
        letter, = shop.read("decisions.dead-letter", count=1)
        assert first["policy_id"] == "orders.other"
        assert (letter.header("verdict-stage"), letter.header("verdict-policy")) == ("context", "orders.ops")

        assert "1 would be put back" in redrive(shop, "--dry-run")
        assert "0 matched" in redrive(shop, "--stage", "decode")
        assert "0 matched" in redrive(shop, "--policy", "orders.other")
        assert "0 matched" in redrive(shop, "--until", "2020-01-01T00:00:00Z")
        redis.client().hset("profile:c1", mapping={"orders": "3"})
        assert "1 put back" in redrive(shop, "--policy", "orders.ops", "--stage", "context")

        decisions = shop.read(count=2)
        assert [d["policy_id"] for d in decisions] == ["orders.other", "orders.ops"], "only the one that gave it up"
        assert decisions[1]["decision_id"] == letter.header("verdict-decision-id")
    with Reader(shop.broker.bootstrap, [shop.source]) as reader:
        original, back = reader.drain()
    assert (back.key, back.value) == (original.key, original.value)
    assert back.header("verdict-redriven") == "1"
    assert back.partition == original.partition


def test_a_letter_that_fails_again_counts_on(shop):
    shop.write(context={"profile": {"redis": "HGETALL profile:{event.data.customer}", "required": True}})
    with shop.worker():
        shop.publish("c1")
        shop.read("decisions.dead-letter", count=1)
        redrive(shop)
        letters = shop.read("decisions.dead-letter", count=2)
    assert [letter.header("verdict-redriven") for letter in letters] == [None, "1"]
    assert letters[0].header("verdict-decision-id") == letters[1].header("verdict-decision-id")
    for letter in letters:
        records.check_dead_letter(letter)
