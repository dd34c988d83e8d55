"""`verdict offsets`: an operator looks at what is committed, and changes it on purpose."""

import subprocess

import pytest

from support import libconfig, worker
from support.copy_worker import CopyWorker, check, kafka_tool, positions
from support.producer import Producer, unique_id
from support.reader import Reader


class Spot:
    def __init__(self, broker, topics, test_dir, binary):
        self.broker, self.binary, self.test_dir = broker, binary, test_dir
        self.source, self.output = topics("in", partitions=3), topics("out")
        self.group = unique_id("group")
        self.settings = test_dir / "verdict.cfg"
        self.settings.write_text(libconfig.dumps(worker.settings(
            broker.bootstrap, "127.0.0.1:1", "http://127.0.0.1:1/v1", [{"name": self.source, "format": "cloudevents"}],
            group=self.group)))
        self.workers = []
        producer = Producer(broker.bootstrap)
        for i in range(20):
            for partition in range(3):
                producer.send(self.source, b"v", key=b"%d" % i, partition=partition)
        self.sent = positions(producer.flush())

    def offsets(self, *args):
        run = subprocess.run([self.binary, "offsets", *map(str, args), "-c", self.settings], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        return run.returncode, run.stdout

    def commit(self, partition, offset, metadata=""):
        kafka_tool(self.broker.bootstrap, "commit", self.group, self.source, partition, offset, metadata)

    def worker(self):
        worker = CopyWorker(self.test_dir, "w1", self.broker.bootstrap, [self.source], self.output, self.group, delay_ms=5)
        self.workers.append(worker)
        return worker.start()

    def copied(self, expected):
        with Reader(self.broker.bootstrap, [self.output]) as reader:
            reader.count(len(expected), 30)
            check(reader.drain(), expected)


@pytest.fixture
def spot(broker, topics, test_dir, binary):
    spot = Spot(broker, topics, test_dir, binary)
    yield spot
    for w in spot.workers:
        w.kill()


def test_show_says_what_a_worker_would_do(spot):
    spot.commit(0, 7)
    code, text = spot.offsets("show")
    lines = {int(line.split()[1]): line for line in text.splitlines() if line.startswith(spot.source)}
    assert code == 78
    assert "REFUSED" in lines[0] and "offsets accept" in lines[0] and " 7 " in lines[0]
    assert "begins" in lines[1] and " 20 " in lines[1]


def test_accept_adopts_what_another_program_committed(spot):
    for partition in range(3):
        spot.commit(partition, 5 + partition)
    code, text = spot.offsets("accept", "--dry-run")
    assert code == 0 and "3 would be changed" in text
    assert spot.offsets("show")[0] == 78
    code, text = spot.offsets("accept")
    assert code == 0 and "3 changed" in text
    code, text = spot.offsets("show")
    assert code == 0 and text.count("resumes") == 3
    spot.worker()
    spot.copied([s for s in spot.sent if int(s.rsplit("/", 1)[1]) >= 5 + int(s.split("/")[1])])


def test_accept_leaves_alone_what_needs_reset(spot):
    spot.commit(0, 5)
    kafka_tool(spot.broker.bootstrap, "delete", spot.source, 0, 9)
    code, text = spot.offsets("accept")
    assert code == 78 and "not accepted" in text and "0 changed" in text


def test_reset_goes_where_it_is_told(spot):
    for partition in range(3):
        spot.commit(partition, 5)
    kafka_tool(spot.broker.bootstrap, "delete", spot.source, 0, 9)
    assert spot.offsets("reset", "--topic", spot.source, "--partition", 0, "--to", "earliest")[0] == 0
    assert spot.offsets("reset", "--topic", spot.source, "--partition", 1, "--to", "latest")[0] == 0
    assert spot.offsets("reset", "--topic", spot.source, "--partition", 2, "--to", 17)[0] == 0
    code, text = spot.offsets("reset", "--topic", spot.source, "--partition", 2, "--to", 99)
    assert code == 65 and "0 to 20, not 99" in text
    spot.worker()
    spot.copied([f"{spot.source}/0/{o}" for o in range(9, 20)] + [f"{spot.source}/2/{o}" for o in range(17, 20)])


def test_a_running_group_is_left_alone(spot):
    worker = spot.worker()
    worker.until(lambda s: s["copied"] == 60, 30, "all of it")
    code, text = spot.offsets("reset", "--topic", spot.source, "--to", "earliest")
    assert code == 78 and "stop its workers first" in text
    assert worker.stop() == 0
    assert spot.offsets("reset", "--topic", spot.source, "--to", "earliest", "--dry-run")[0] == 0
    assert spot.broker.committed(spot.group, spot.source) == dict.fromkeys(range(3), 20)


@pytest.mark.parametrize("args", [["frobnicate"], ["reset"], ["reset", "--topic", "x", "--to", "7"],
                                  ["reset", "--topic", "x", "--to", "soon"]])
def test_usage_errors_exit_64(spot, args):
    code, text = spot.offsets(*args)
    assert code == 64 and "verdict offsets" in text
