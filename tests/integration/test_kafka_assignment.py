"""Where a partition goes on: every row of the table in design/delivery.md, on a real broker."""

import base64
import struct
import time
import zlib

import pytest
from confluent_kafka import admin

from support.copy_worker import CopyWorker, check, kafka_tool, positions
from support.processes import wait_until
from support.producer import Producer, unique_id
from support.reader import Reader


def encode_map(base, finished=(), partitions=4, version=1):
    """The map as design/delivery.md describes it, written by other hands."""
    count = max(finished) - base + 1 if finished else 0
    bits = bytearray((count + 7) // 8)
    for offset in finished:
        bits[(offset - base) // 8] |= 1 << (offset - base) % 8
    raw = b"VD" + bytes([version]) + struct.pack(">qII", base, partitions, count) + bytes(bits)
    return base64.b64encode(raw + struct.pack(">I", zlib.crc32(raw))).decode()


class Spot:
    def __init__(self, broker, topics, test_dir):
        self.broker, self.test_dir = broker, test_dir
        self.source = topics("in", partitions=4)
        self.output = topics("out", partitions=1)
        self.group = unique_id("group")
        self.producer = Producer(broker.bootstrap)
        self.workers = []

    def worker(self, name="w1", **options):
        worker = CopyWorker(self.test_dir, name, self.broker.bootstrap, [self.source], self.output, self.group,
                            **{"delay_ms": 5, **options})
        self.workers.append(worker)
        return worker.start()

    def fill(self, count=20, partitions=range(4)):
        for i in range(count):
            for partition in partitions:
                self.producer.send(self.source, b"v%d" % i, key=b"%d" % i, partition=partition)
        return positions(self.producer.flush())

    def commit(self, partition, offset, metadata=""):
        """As another program of the group would."""
        kafka_tool(self.broker.bootstrap, "commit", self.group, self.source, partition, offset, metadata)

    def outputs(self, count, timeout=30):
        with Reader(self.broker.bootstrap, [self.output]) as reader:
            reader.count(count, timeout)
            return reader.drain()


@pytest.fixture
def spot(broker, topics, test_dir):
    spot = Spot(broker, topics, test_dir)
    yield spot
    for worker in spot.workers:
        worker.kill()


def refused(status):
    return {p["partition"]: p["refused"] for p in status["partitions"] if p["refused"]}


def test_a_fresh_group_needs_the_setting(spot):
    spot.fill()
    worker = spot.worker(start=None)
    status = worker.until(lambda s: len(refused(s)) == 4, 20, "all are refused")
    assert "start = " in refused(status)[0] and "start = " in status["trouble"]
    assert status["delivered"] == 0


def test_earliest_takes_everything_and_commits_before_the_first_record(spot):
    expected = spot.fill()
    spot.worker(delay_ms=3000)
    wait_until(lambda: spot.broker.committed(spot.group, spot.source) == dict.fromkeys(range(4), 0), 20, "the start is committed")
    check(spot.outputs(80), expected)


def test_latest_takes_what_comes_from_then_on_also_after_a_crash(spot):
    spot.fill()
    worker = spot.worker(start="latest", delay_ms=5)
    worker.until(lambda s: len(s["partitions"]) == 4 and all(p["base"] == 20 for p in s["partitions"]), 20, "it stands at the end")
    wait_until(lambda: spot.broker.committed(spot.group, spot.source) == dict.fromkeys(range(4), 20), 20, "the start is committed")
    worker.kill()
    expected = spot.fill(10)
    worker.start()
    check(spot.outputs(40), expected)


def test_an_offset_without_a_map_is_refused_and_the_others_go_on(spot):
    spot.fill()
    spot.commit(0, 7)
    worker = spot.worker()
    status = worker.until(lambda s: s["copied"] == 60, 20, "the other partitions")
    assert list(refused(status)) == [0]
    assert "without a map" in refused(status)[0] and "offsets accept" in refused(status)[0]
    assert spot.broker.committed(spot.group, spot.source)[0] == 7


@pytest.mark.parametrize("metadata, reason", [
    ("host-7", "no map of this program"),
    (encode_map(7, version=2), "newer version"),
    (encode_map(6), "belongs to offset 6"),
])
def test_a_foreign_a_newer_and_a_misplaced_map_are_refused(spot, metadata, reason):
    spot.fill()
    spot.commit(0, 7, metadata)
    worker = spot.worker()
    status = worker.until(lambda s: s["copied"] == 60, 20, "the other partitions")
    assert list(refused(status)) == [0] and reason in refused(status)[0]


def test_a_map_written_by_other_hands_is_resumed(spot):
    expected = spot.fill(20, [0])
    spot.commit(0, 3, encode_map(3, [5, 6, 9]))
    worker = spot.worker()
    done = {f"{spot.source}/0/{o}" for o in (0, 1, 2, 5, 6, 9)}
    check(spot.outputs(14), [e for e in expected if e not in done])
    assert worker.status()["skipped"] == 3


def test_a_base_that_retention_passed_is_refused_with_the_lost_range(spot):
    spot.fill(20)
    worker = spot.worker()
    worker.until(lambda s: s["copied"] == 80, 20, "all of it")
    assert worker.stop() == 0
    spot.fill(20)
    kafka_tool(spot.broker.bootstrap, "delete", spot.source, 0, 25)
    worker.start()
    status = worker.until(lambda s: s["copied"] == 60, 20, "the other partitions")
    assert list(refused(status)) == [0]
    assert "20 to 24" in refused(status)[0] and "offsets reset" in refused(status)[0]


def test_a_topic_that_was_created_anew_and_is_shorter_is_refused(spot):
    spot.fill(20)
    worker = spot.worker()
    worker.until(lambda s: s["copied"] == 80, 20, "all of it")
    assert worker.stop() == 0
    spot.broker.delete_topics([spot.source])
    time.sleep(1)
    spot.broker.create_topics([spot.source], 4)
    spot.fill(5)
    for partition in range(4):
        spot.commit(partition, 20, encode_map(20))  # a broker forgets the offsets of a topic that is deleted by its tools; by others it may not
    worker.start()
    status = worker.until(lambda s: len(refused(s)) == 4, 20, "all are refused")
    assert "created anew" in refused(status)[0]


def test_a_partition_that_was_added_is_read_from_its_start(spot):
    spot.fill()
    worker = spot.worker(start="latest", property="topic.metadata.refresh.interval.ms=1000")
    worker.until(lambda s: len(s["partitions"]) == 4 and all(p["base"] == 20 for p in s["partitions"]), 20, "it stands at the end")
    wait_until(lambda: spot.broker.committed(spot.group, spot.source) == dict.fromkeys(range(4), 20), 20, "the start is committed")
    assert worker.stop() == 0
    for future in spot.broker.admin().create_partitions([admin.NewPartitions(spot.source, 6)]).values():
        future.result(30)
    wait_until(lambda: len(spot.broker.partitions(spot.source)) == 6, 20, "six partitions")
    spot.producer = Producer(spot.broker.bootstrap)  # the old one knows four
    expected = spot.fill(10, [4, 5])
    worker.start()
    check(spot.outputs(20), expected)


def test_an_open_transaction_of_a_killed_worker_delays_its_successor_and_no_more(spot):
    """It is killed at a random moment; whatever was open is over after the transaction's time-out."""
    expected = []
    worker = spot.worker("w1", txn_ms=5000, interval_ms=1, delay_ms=10)
    for _ in range(4):
        expected += spot.fill(100)
        worker.until(lambda s: s["delivered"] > 30, 30, "work is under way")
        worker.kill()
        # Another slot, so that nobody ends the open transaction before its time-out.
        worker = spot.worker(unique_id("w"), txn_ms=5000, interval_ms=1, delay_ms=10)
    check(spot.outputs(len(expected), 60), expected)
