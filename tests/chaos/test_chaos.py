"""A short chaos run of `verdict run`, and the proof that the checker notices: it must catch each broken rule of delivery."""

import os
import random

import pytest

from chaos import chaos, checker, deciding, world

SEED = int(os.environ.get("CHAOS_SEED") or random.randrange(1 << 30))

# Of each kind of fault at least one, in an order that the seed gives; those that take long are left to `make chaos`.
SHORT = ("kill_worker", "kill_all_workers", "kill_before_the_answer", "zombie", "leave_and_join", "broker_kill", "network_cut",
         "lost_answers", "slow_network", "redis_away", "redis_paused", "model_outage", "model_brown_out", "model_flood_of_429")


@pytest.fixture(scope="module")
def cluster(brokers, run_dir):
    """One for all tests of this file: `brokers` skips them, or fails, where there can be none."""
    cluster = world.Cluster(run_dir / "chaos-broker")
    yield cluster
    cluster.broker.kill()


def test_ninety_seconds_of_chaos(binary, cluster, test_dir):
    verdict, rows, stall = chaos.Run(cluster, test_dir, SEED, seconds=70, rate=200, names=SHORT, quiet=True).go()
    print()
    chaos.print_table(rows)
    chaos.print_violations(verdict)
    assert verdict.clean(), verdict.faults()
    assert stall <= world.STALL_LIMIT_S
    assert verdict.inputs > 10_000


SEEDS = range(7, 17)


# The worker's kafka folder alone, in tests/support/copy_worker.c: it is quicker than the whole, and what is caught is the same.
@pytest.mark.parametrize("switch, faults, expected, options", [
    ("drop-map", ["kill_worker"], "duplicated", {}),
    ("republish-unknown,forget-commit", ["short_pause"], "duplicated", {}),
    ("ignore-epochs", ["zombie"], "duplicated", {}),
    # The transaction outlives the sleep, or its time-out would be the guard.
    ("refetch-group", ["zombie"], "duplicated", {"txn_ms": 40000, "delay_ms": 100}),
    # What is missing shows only at the end of a run.
    ("gaps-unfinished", ["short_pause"], "unfinished", {"seconds": 8, "settle_s": 8}),
    ("offsets-outside", ["kill_on_slow_network"], "lost", {"seconds": 20}),
])
def test_the_checker_catches(cluster, test_dir, switch, faults, expected, options):
    env = {"VERDICT_TEST": "1", "VERDICT_TEST_SABOTAGE": switch}
    enough = checker.duplicated if expected == "duplicated" else None
    # A broken rule does harm only when a fault hits at the wrong moment: several schedules get the chance.
    for seed in SEEDS:
        folder = test_dir / str(seed)
        folder.mkdir()
        run = chaos.Run(cluster, folder, seed, kind="copy", rate=400, workers=2, names=faults,
                        prefix=f"{switch.split(',')[0]}.{seed}.", env=env, quiet=True, enough=enough,
                        **{"seconds": 60, "settle_s": 15, **options})
        verdict, rows, _ = run.go()
        chaos.print_table(rows)
        if verdict.faults()[expected] > 0:
            return
    pytest.fail(f"{switch} was not noticed: {verdict.faults()}")


# --- the judge ----------------------------------------------------------------------------------------------------

def event(n, **changes):
    return b'{"type": "%s", "data": {"n": %d, "group": "%s"}}' % (
        changes.get("type", "order.placed").encode(), n, changes.get("group", "g").encode())


INPUTS = [checker.Input(("in", 0, n), b"k", value) for n, value in enumerate(
    [event(0), event(1), event(2), b"{", event(7), event(6, group=""), event(3, type="order.seen")])]
RIGHT = [(0, deciding.EVERY, "decision"), (0, deciding.THIRD, "decision"), (1, deciding.EVERY, "decision"),
         (2, deciding.EVERY, "decision"), (3, "", "dead letter"), (4, deciding.EVERY, "decision"),
         (5, deciding.EVERY, "decision"), (5, deciding.THIRD, "dead letter")]


def outcome(offset, policy, kind, where=("out", 0)):
    return checker.Outcome(("in", 0, offset), policy, kind, None if kind == "dead letter" else b"k", where)


def changed(*, without=None, plus=(), swap=None):
    right = [one for one in RIGHT if one != without]
    if swap:
        a, b = map(right.index, swap)
        right[a], right[b] = right[b], right[a]
    return [outcome(*one) for one in [*right, *plus]]


@pytest.mark.parametrize("outcomes, fault", [
    (changed(), None),
    (changed(without=RIGHT[2]), "lost"),
    (changed(without=RIGHT[1]), "lost"),  # the other policy's outcome does not make up for it
    (changed(without=RIGHT[4]), "lost"),
    (changed(without=RIGHT[7]), "lost"),
    (changed(plus=[RIGHT[2]]), "duplicated"),
    (changed(plus=[RIGHT[7]]), "duplicated"),
    (changed(swap=(RIGHT[2], RIGHT[3])), "out_of_order"),
    (changed(swap=(RIGHT[1], RIGHT[2])), None),  # of different policies
    (changed(without=RIGHT[6], plus=[(*RIGHT[6], ("out", 1))]), "out_of_order"),
    (changed(plus=[(6, deciding.EVERY, "decision")]), "invented"),  # no policy wanted it
    (changed(plus=[(7, deciding.EVERY, "decision")]), "invented"),  # it was never written, or aborted
    (changed(plus=[(1, deciding.THIRD, "decision")]), "invented"),
    (changed(without=RIGHT[7], plus=[(5, deciding.THIRD, "decision")]), "wrong_kind"),
])
def test_the_judge(outcomes, fault):
    verdict = checker.judge(INPUTS, outcomes, deciding.expect)
    assert [name for name, n in verdict.faults().items() if n] == ([fault] if fault else [])


def test_compaction_may_take_an_input_away_after_its_outcome():
    gone = checker.Input(("in", 1, 0), b"k", event(1))
    late = checker.Outcome(gone.source, deciding.EVERY, "decision", b"k", ("out", 0))
    assert checker.judge(INPUTS, [*changed(), late], deciding.expect, [gone]).clean()
    assert checker.judge(INPUTS, [*changed(), late], deciding.expect).faults()["invented"] == 1
