"""tests/support/copy_worker.c as a process, and what must be true of what it copied."""

import collections
import json
import os
import signal
import subprocess

from . import paths
from .processes import Process, wait_until

BINARY = paths.BINARY.resolve().parent / "tests" / "support" / "copy_worker"


def kafka_tool(*args):
    """tests/support/kafka_tool.c; what it prints."""
    run = subprocess.run([BINARY.parent / "kafka_tool", *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=60)
    assert run.returncode == 0, run.stdout
    return run.stdout


class CopyWorker:
    """One worker; start() again after kill() or stop() is the same slot (transactional id, journal, log)."""

    def __init__(self, directory, name, bootstrap, topics, output, group="g", env=None, **options):
        self.name = name
        self.process = Process(name, directory / f"{name}.log")
        self.journal_path = directory / f"{name}.journal"
        self.env = env
        self._argv = [BINARY, "--brokers", bootstrap, "--group", group, "--topics", ",".join(topics), "--output", output,
                      "--txid", f"{group}-{name}", "--journal", self.journal_path]
        options = {"start": "earliest", "session_ms": 6000, **options}
        for key, value in options.items():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if one is not None:
                    self._argv += [f"--{key.replace('_', '-')}", one]

    def start(self):
        assert os.access(BINARY, os.X_OK), f"{BINARY} is not there; run make"
        self.process.start(self._argv, env=self.env)
        return self

    def status(self, timeout=5):
        """What SIGUSR1 makes it print."""
        # Before its first line it has no handler for the signal yet.
        wait_until(lambda: "kafka.phase" in self.process.log().rpartition("\n--- ")[2], timeout, f"{self.name} is up",
                   self.process)
        seen = self.process.log().count("\nSTATUS ")
        self.process.signal(signal.SIGUSR1)
        wait_until(lambda: self.process.log().count("\nSTATUS ") > seen, timeout, f"status of {self.name}", self.process)
        line = [text for text in self.process.log().splitlines() if text.startswith("STATUS ")][-1]
        return json.loads(line.removeprefix("STATUS "))

    def until(self, condition, timeout, what):
        """Waits until condition(status) holds and returns that status."""
        last = {}

        def holds():
            last.update(self.status())
            return condition(last)

        wait_until(holds, timeout, what, self.process, interval=0.1)
        return last

    def log_has(self, text):
        return text in self.process.log()

    def started(self):
        """Positions this slot began to work on, over all its lives, repeats included."""
        if not self.journal_path.exists():
            return []
        return self.journal_path.read_text().splitlines()

    def stop(self, timeout=20):
        return self.process.terminate(timeout)

    def kill(self):
        self.process.kill()


def source_of(record):
    return record.value.split(b" ", 1)[0].decode()


def check(records, expected, ordered=True):
    """Every expected "topic/partition/offset" exactly once, nothing else, and in order for each partition and key."""
    seen = collections.Counter(source_of(r) for r in records)
    twice = [s for s, n in seen.items() if n > 1]
    assert not twice, f"{len(twice)} were published more than once: {sorted(twice)[:10]}"
    lost = set(expected) - set(seen)
    assert not lost, f"{len(lost)} are missing: {sorted(lost)[:10]}"
    invented = set(seen) - set(expected)
    assert not invented, f"{len(invented)} should not be there: {sorted(invented)[:10]}"
    if not ordered:
        return
    last = {}
    for r in records:
        topic, partition, offset = source_of(r).rsplit("/", 2)
        where = topic, partition, r.key
        assert r.key is None or last.get(where, -1) < int(offset), f"{source_of(r)} came after {last[where]}"
        last[where] = int(offset)


def positions(delivered):
    """Of Producer.flush()'s answer."""
    return [f"{topic}/{partition}/{offset}" for topic, partition, offset in delivered]
