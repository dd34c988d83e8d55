"""worker/kafka when brokers and topics are not there, come late, or die in the middle of a commit."""

import random
import time

import pytest

from support.copy_worker import CopyWorker, check, positions
from support.processes import free_port, wait_until
from support.producer import Producer, unique_id
from support.reader import Reader


@pytest.fixture(scope="module")
def own_broker(brokers):
    """One that these tests may kill."""
    return brokers("kafka-mortal", config={"log.cleaner.backoff.ms": 200, "log.segment.delete.delay.ms": 100,
                                           "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000})


@pytest.fixture
def workers(test_dir):
    started = []

    def start(bootstrap, topics, output, name="w1", **options):
        worker = CopyWorker(test_dir, name, bootstrap, topics, output, **{"delay_ms": 20, **options})
        started.append(worker)
        return worker.start()

    yield start
    for worker in started:
        worker.kill()


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_a_broker_that_is_absent_is_waited_for_without_spinning(workers):
    worker = workers(f"127.0.0.1:{free_port()}", ["in"], "out")
    status = worker.until(lambda s: s["trouble"], 20, "it says why")
    assert "127.0.0.1" in status["trouble"] and status["phase"] == "connecting"
    before = cpu_seconds(worker.process.pid)
    time.sleep(4)
    assert cpu_seconds(worker.process.pid) - before < 0.5
    assert worker.stop() == 0


def test_topics_that_are_missing_are_named_and_waited_for(own_broker, workers):
    source, output = unique_id("in"), unique_id("out")
    worker = workers(own_broker.bootstrap, [source], output, group=unique_id("g"))
    status = worker.until(lambda s: s["phase"] == "waiting for topics", 20, "it says so")
    assert f"input topic {source}" in status["trouble"]
    own_broker.create_topics([source], 2)
    worker.until(lambda s: f"output topic {output}" in s["trouble"], 20, "the other one")
    own_broker.create_topics([output], 2)
    producer = Producer(own_broker.bootstrap)
    for i in range(10):
        producer.send(source, b"v", key=b"%d" % i)
    expected = positions(producer.flush())
    with Reader(own_broker.bootstrap, [output]) as reader:
        reader.count(10, 30)
        check(reader.drain(), expected)
    assert worker.status()["trouble"] == ""


def test_compacted_offsets_do_not_hold_the_base_and_nothing_is_skipped(own_broker, workers):
    source, output, group = unique_id("compacted"), unique_id("out"), unique_id("g")
    own_broker.create_topics([source], 2, {"cleanup.policy": "compact", "segment.ms": 100,
                                           "min.cleanable.dirty.ratio": 0.01, "max.compaction.lag.ms": 500})
    own_broker.create_topics([output], 1)
    producer = Producer(own_broker.bootstrap)
    for i in range(6000):
        producer.send(source, b"%060d" % i, key=b"k%d" % (i % 400))
        if i % 500 == 0:
            producer.flush()
    producer.flush()

    def left():
        with Reader(own_broker.bootstrap, [source]) as reader:
            return reader.drain()

    def compacted():
        for partition in (0, 1):  # rolls the segments: only a closed one is compacted
            producer.send(source, b"again", key=b"tick", partition=partition)
        producer.flush()
        return len(left()) < 3000

    wait_until(compacted, 120, "the broker compacts", interval=0.5)
    worker = workers(own_broker.bootstrap, [source], output, group=group)
    wait_until(lambda: own_broker.committed(group, source) == own_broker.end_offsets(source), 40, "all is committed")
    status = worker.status()
    assert all(p["span"] == 0 for p in status["partitions"])
    last = {r.key: r for r in left()}
    with Reader(own_broker.bootstrap, [output]) as reader:
        copied = {r.value.split(b" ")[0].decode() for r in reader.drain()}
    # Whatever is in the log now was there when the worker read it.
    missing = {f"{source}/{r.partition}/{r.offset}" for r in last.values()} - copied
    assert not missing
    assert sum(own_broker.end_offsets(source).values()) > len(copied)


@pytest.mark.parametrize("clean", [True, False], ids=["stopped", "killed"])
def test_a_broker_that_goes_away_in_the_middle_costs_nothing(own_broker, workers, clean):
    source, output, group = unique_id("in"), unique_id("out"), unique_id("g")
    own_broker.create_topics([source, output], 4)
    producer = Producer(own_broker.bootstrap)
    for i in range(6000):
        producer.send(source, b"v%d" % i, key=b"k%d" % (i % 600))
    expected = positions(producer.flush())
    # Commits one after the other, so that the broker is most likely to die between "sent" and "confirmed".
    worker = workers(own_broker.bootstrap, [source], output, group=group, interval_ms=1, delay_ms=300, in_flight=1500)
    second = workers(own_broker.bootstrap, [source], output, "w2", group=group, interval_ms=1, delay_ms=300, in_flight=1500)
    seed = random.randrange(1 << 30)
    print(f"\nseed {seed}")
    moments = random.Random(seed)
    for _ in range(2 if clean else 4):
        time.sleep(0.5 + moments.random())
        own_broker.restart(clean=clean)
    with Reader(own_broker.bootstrap, [output]) as reader:
        reader.count(6000, 120)
        check(reader.drain(), expected)
    wait_until(lambda: own_broker.committed(group, source) == own_broker.end_offsets(source), 30, "all is committed")
    for w in (worker, second):
        status = w.until(lambda s: s["trouble"] == "", 20, "it knows that the brokers are back")
        print({k: status[k] for k in ("copied", "dropped", "aborts", "unknown", "rebuilds", "fenced")})
