"""A short chaos run, and the proof that the checker notices: each broken rule of delivery must be caught by it."""

import os
import random

import pytest

from chaos import chaos, checker

SEED = int(os.environ.get("CHAOS_SEED") or random.randrange(1 << 30))


def test_ninety_seconds_of_chaos(test_dir):
    verdict, rows, stall = chaos.run(test_dir, SEED, seconds=50, rate=400)
    print()
    chaos.print_table(rows)
    assert verdict.clean(), verdict.faults()
    assert stall <= chaos.STALL_LIMIT_S
    assert verdict.inputs > 10_000


@pytest.mark.parametrize("switch, faults, expected, options", [
    ("drop-map", ["kill_worker"], "duplicated", {}),
    ("gaps-unfinished", ["short_pause"], "unfinished", {}),
    ("republish-unknown,forget-commit", ["short_pause"], "duplicated", {}),
    ("offsets-outside", ["kill_on_slow_network"], "lost", {}),
    ("ignore-epochs", ["zombie"], "duplicated", {}),
    # The transaction outlives the sleep, or its time-out would be the guard.
    ("refetch-group", ["zombie"], "duplicated", {"txn_ms": 40000, "delay_ms": 100}),
])
def test_the_checker_catches(test_dir, switch, faults, expected, options):
    env = {"VERDICT_TEST": "1", "VERDICT_TEST_SABOTAGE": switch}
    verdict, rows, _ = chaos.run(test_dir, 7, seconds=20 if not options else 40, rate=400, workers=2, names=faults,
                                 env=env, quiet=True, settle_s=15, options=options)
    chaos.print_table(rows)
    assert verdict.faults()[expected] > 0, f"{switch} was not noticed: {verdict.faults()}"


def record(source, key=b"k"):
    return "out", 0, 0, key, source.encode() + b" payload"


def inputs(*offsets):
    return [("in", 0, o, b"k", b"") for o in offsets]


@pytest.mark.parametrize("outcomes, fault", [
    ([0, 1, 2], None),
    ([0, 1], "lost"),
    ([0, 1, 1, 2], "duplicated"),
    ([0, 2, 1], "out_of_order"),
    ([0, 1, 2, 3], "invented"),
])
def test_the_judge(outcomes, fault):
    verdict = checker.judge(inputs(0, 1, 2), [record(f"in/0/{o}") for o in outcomes])
    assert [name for name, n in verdict.faults().items() if n] == ([fault] if fault else [])
