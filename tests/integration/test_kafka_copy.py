"""worker/kafka against a real broker: what is consumed comes out once, whatever happens in between."""

import time

import pytest

from support.copy_worker import CopyWorker, check, positions
from support.processes import wait_until
from support.producer import Producer, unique_id
from support.reader import Reader

TEST_SWITCH = {"VERDICT_TEST": "1"}


@pytest.fixture
def spot(broker, topics, test_dir):
    """Fresh topics, a group, and workers on them that end with the test."""
    class Spot:
        def __init__(self):
            self.bootstrap = broker.bootstrap
            self.source = topics("in", partitions=4)
            self.output = topics("out", partitions=4)
            self.group = unique_id("group")
            self.producer = Producer(broker.bootstrap)
            self.workers = []
            self.expected = []

        def worker(self, name="w1", topics=None, **options):
            worker = CopyWorker(test_dir, name, self.bootstrap, topics or [self.source], self.output, self.group, **options)
            self.workers.append(worker)
            return worker.start()

        def send(self, count, keys=50, payload=b"payload"):
            for i in range(count):
                self.producer.send(self.source, payload + b" %d" % i, key=b"key-%d" % (i % keys))
            self.expected += positions(self.producer.flush())

        def finished(self, timeout=60):
            """All is copied, the group has committed all of it, and every position came out once."""
            with Reader(self.bootstrap, [self.output]) as reader:
                reader.count(len(self.expected), timeout)
                check(reader.drain(), self.expected)
            wait_until(lambda: broker.committed(self.group, self.source) == self.ends(), 20,
                       f"all is committed: {broker.committed(self.group, self.source)} {self.ends()}")

        def ends(self):
            return broker.end_offsets(self.source)

        def committed(self):
            return broker.committed(self.group, self.source)

    spot = Spot()
    yield spot
    for worker in spot.workers:
        worker.kill()


def test_every_record_is_copied_once(spot):
    spot.send(3000)
    worker = spot.worker()
    spot.finished()
    status = worker.status()
    assert status["copied"] == 3000 and status["aborts"] == 0 and status["trouble"] == ""
    assert status["delivery"] == "exactly once"


def test_aborted_records_of_the_source_are_not_seen_and_do_not_hold_the_base(spot):
    source = Producer(spot.bootstrap, transactional_id=unique_id("source"))
    worker = spot.worker(delay_ms=50)
    for round_number in range(30):
        aborted = round_number % 3 == 1
        with source.transaction(abort=aborted):
            for i in range(20):
                source.send(spot.source, b"%s %d" % (b"aborted" if aborted else b"good", i), key=b"k%d" % i)
            delivered = source.flush()
        if not aborted:
            spot.expected += positions(delivered)
    spot.finished()
    assert all(p["span"] == 0 for p in worker.status()["partitions"])


def test_a_record_that_leads_to_nothing_is_finished(spot):
    spot.send(50)
    for i in range(50):
        spot.producer.send(spot.source, b"skip", key=b"s%d" % i)
    spot.producer.flush()
    worker = spot.worker(delay_ms=20)
    spot.finished()
    assert worker.status()["copied"] == 100


def test_one_stuck_record_holds_nobody_but_its_key(spot):
    spot.producer.send(spot.source, b"stuck", key=b"stuck", partition=0)
    spot.producer.flush()
    worker = spot.worker(delay_ms=20)
    spot.send(2000)
    with Reader(spot.bootstrap, [spot.output]) as reader:
        reader.count(2000, 30)
        check(reader.drain(), spot.expected)
    status = worker.status()
    assert [p["base"] for p in status["partitions"]][0] == 0
    assert spot.committed()[0] == 0
    # What is finished above it survives a crash.
    worker.kill()
    worker.start()
    worker.until(lambda s: s["in_flight"] == 1 and s["skipped"] > 100, 40, "the finished ones are skipped")
    assert worker.status()["copied"] == 0


def test_a_span_that_is_full_stops_its_partition_only(spot):
    for partition in (0, 1):
        for i in range(200):
            spot.producer.send(spot.source, b"stuck" if (partition, i) == (0, 0) else b"go", key=b"%d" % i, partition=partition)
    spot.producer.flush()
    worker = spot.worker(span=64, delay_ms=5)
    status = worker.until(lambda s: s["copied"] == 200 + 63, 30, "all but what is beyond the span")
    stuck = status["partitions"][0]
    assert (stuck["base"], stuck["next"], stuck["paused"], stuck["in_flight"]) == (0, 64, "span", 1)
    time.sleep(1)
    assert worker.status()["copied"] == 263


@pytest.mark.parametrize("assignor", ["cooperative-sticky", "range"])
def test_workers_that_join_and_leave_lose_and_repeat_nothing(spot, assignor):
    spot.send(2000)
    first = spot.worker("w1", assignor=assignor, delay_ms=200)
    first.until(lambda s: s["copied"] > 100, 20, "work is under way")
    second = spot.worker("w2", assignor=assignor, delay_ms=200)
    second.until(lambda s: len(s["partitions"]) == 2 and s["delivered"] > 0, 40, "the second has its share")
    spot.send(2000)
    assert first.stop() == 0
    spot.send(1000)
    third = spot.worker("w3", assignor=assignor, delay_ms=200)
    third.until(lambda s: len(s["partitions"]) == 2, 40, "the third has its share")
    spot.send(1000)
    second.kill()
    spot.finished(90)


def test_a_zombie_publishes_nothing(spot):
    spot.send(1500, keys=1500)
    first = spot.worker("w1", delay_ms=3000, txn_ms=5000, in_flight=1000)
    first.until(lambda s: s["copied"] > 50, 20, "work is under way")
    second = spot.worker("w2", delay_ms=100, txn_ms=5000)
    second.until(lambda s: len(s["partitions"]) == 2, 30, "the second has its share")
    first.process.pause()
    second.until(lambda s: len(s["partitions"]) == 4, 40, "the second has everything")
    spot.send(500)
    first.process.resume()
    first.until(lambda s: s["revoked"] + s["dropped"] > 0, 30, "the first noticed")
    spot.finished(90)


def test_a_static_member_comes_back_without_a_rebalance(spot):
    spot.send(200)
    first = spot.worker("w1", instance="slot-1", session_ms=15000, delay_ms=50)
    second = spot.worker("w2", instance="slot-2", session_ms=15000, delay_ms=50)
    second.until(lambda s: len(s["partitions"]) == 2 and s["in_flight"] == 0, 40, "both have their share")
    first.until(lambda s: len(s["partitions"]) == 2 and s["in_flight"] == 0, 40, "both have their share")
    assert first.stop() == 0
    rebalances = second.process.log().count("kafka.assigned")
    spot.send(500)
    first.start()
    spot.finished()
    assert second.process.log().count("kafka.assigned") == rebalances


def test_two_workers_with_one_transactional_id_stop_and_name_it(spot):
    first = spot.worker("w1", txid="shared", delay_ms=5)
    second = spot.worker("w2", txid="shared", delay_ms=5)
    deadline = time.monotonic() + 90
    while first.process.running() and second.process.running():
        assert time.monotonic() < deadline, "neither gave up"
        spot.send(40)
        time.sleep(0.2)
    loser, winner = (first, second) if not first.process.running() else (second, first)
    assert loser.process.returncode() == 75
    assert "shared" in loser.process.log_tail(5)
    if not winner.process.running():
        winner.start()
    spot.finished(90)


def test_sigterm_lets_running_work_finish_and_exits_0(spot):
    spot.send(400, keys=400)
    worker = spot.worker(delay_ms=3000, in_flight=200)
    worker.until(lambda s: s["in_flight"] > 100, 20, "work is under way")
    began = time.monotonic()
    assert worker.stop() == 0
    took = time.monotonic() - began
    started = worker.started()
    assert took < 8 and len(started) < 400
    with Reader(spot.bootstrap, [spot.output]) as reader:
        check(reader.drain(), started)
    assert sum(spot.committed().values()) <= len(started)


def test_the_drain_is_bounded(spot):
    spot.producer.send(spot.source, b"stuck", key=b"k")
    spot.producer.flush()
    worker = spot.worker(drain_ms=1500)
    worker.until(lambda s: s["in_flight"] == 1, 20, "it is stuck")
    began = time.monotonic()
    assert worker.stop() == 0
    assert 1 < time.monotonic() - began < 5


def test_a_record_that_no_broker_takes_is_replaced_and_holds_nobody(spot):
    for i in range(300):
        spot.producer.send(spot.source, b"big one" if i in (77, 200) else b"small", key=b"k%d" % i)
    spot.expected += positions(spot.producer.flush())
    worker = spot.worker(delay_ms=10)
    spot.finished()
    assert worker.status()["culprits"] == 2
    with Reader(spot.bootstrap, [spot.output]) as reader:
        assert sum(b" minimal" in r.value for r in reader.drain()) == 2


def test_an_answer_that_never_came_leads_to_no_second_outcome(spot):
    spot.send(3000)
    worker = spot.worker(delay_ms=50, env={**TEST_SWITCH, "VERDICT_TEST_SABOTAGE": "forget-commit"}, interval_ms=20)
    spot.finished(90)
    status = worker.status()
    assert status["unknown"] >= 1 and status["session"] == 1 + status["rebuilds"]


def test_at_least_once_publishes_everything_and_says_what_it_is(spot):
    spot.send(1000)
    worker = spot.worker("w1", delivery="at_least_once", delay_ms=50)
    second = spot.worker("w2", delivery="at_least_once", delay_ms=50)
    with Reader(spot.bootstrap, [spot.output]) as reader:
        reader.until(lambda records: {r.value.split(b" ")[0].decode() for r in records} >= set(spot.expected), 40, "everything")
    wait_until(lambda: spot.committed() == spot.ends(), 20, "all is committed")
    assert worker.status()["delivery"] == "at least once"
    assert second.stop() == 0 and worker.stop() == 0
    # The same ledger: exactly once takes over where it ended.
    third = spot.worker("w3")
    spot.send(100)
    third.until(lambda s: s["copied"] == 100 and s["in_flight"] == 0, 30, "only the new ones")


def test_sabotage_needs_to_be_a_test(spot):
    worker = spot.worker(env={"VERDICT_TEST_SABOTAGE": "drop-map", "VERDICT_TEST": ""})
    assert worker.process.wait(10) == 78
    assert worker.log_has("VERDICT_TEST_SABOTAGE is for tests")
