"""What the benchmarks run on: one broker, one Redis, one simulated model (and TLS before it), and runs of one program under load.

A run is: fresh topics, a backlog of events in them, the program started, every outcome counted by bench/load; then, when
asked, the same program under a steady rate, for the time it adds. CPU is what the kernel counted for that one process
between being ready and its last outcome, all its threads included.
"""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import threading
import time

from support import broker, model, paths, redis_server, tls_front, worker
from support.processes import Process, wait_until

HERE = pathlib.Path(__file__).resolve().parent
TOPICS_OUT = ["decisions.billing", "decisions.review", "decisions.shadow", "decisions.audit", "decisions.dead-letter"]
PARTITIONS = 6
SUBSCRIPTIONS = 10000  # as in load.c
ANSWER = {
    "action": "retry", "params": {"after_hours": 36, "method": "same"}, "confidence": 0.83,
    "rationale": "The invoice is of a usual size and this is the second attempt; the customer has been with us for "
                 "longer than a year and earlier failures ended well after a payday. A retry in the morning hours in "
                 "one and a half days costs nothing and mostly works; asking for a new card now would be early.",
    "evidence": ["/event/data/object/attempt_count", "/event/data/object/amount_due", "/sub/months_active"],
}
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Wrong(Exception):
    """A run whose outcomes are not its inputs. Its numbers would mean nothing."""


def bench_binary(name):
    return paths.BINARY.resolve().parent / "tests" / "bench" / name


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def memory_mib(pid, name):
    """VmRSS or VmHWM, MiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


class Stage:
    """Everything a run needs beside the program itself."""

    def __init__(self, directory):
        # Thousands of connections from each side to one address.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
        self.directory = directory
        self.broker = broker.Broker(directory / "kafka", config={"log.segment.delete.delay.ms": 1000})
        self.redis = redis_server.RedisServer(directory / "redis")
        self.model = model.ModelSim(directory)
        self.front = tls_front.TlsFront(directory / "tls", self.model.port)
        self._runs = 0
        self._topics = []

    def __enter__(self):
        self.broker.start()
        self.redis.start()
        self.model.start()
        self.front.start()
        self.model.control(rules=[{"match": "", "answers": [ANSWER]}])
        pipe = self.redis.client().pipeline()
        for n in range(SUBSCRIPTIONS):
            pipe.hset(f"sub:sub_{n:08d}", mapping={"plan": "pro", "months_active": 14, "last_decline": "insufficient_funds",
                                                   "has_backup_method": "false"})
        pipe.execute()
        return self

    def __exit__(self, *exc):
        for part in (self.front, self.model, self.redis, self.broker):
            part.process.kill()
        shutil.rmtree(self.broker.directory / "data", ignore_errors=True)

    def latency(self, ms):
        self.model.control(latency=str(ms))

    def fresh_names(self):
        """Topics of a run of its own: (prefix, in, decisions, audit)."""
        self._runs += 1
        prefix = f"r{self._runs}"
        names = [f"{prefix}.bench.in", *(f"{prefix}.{name}" for name in TOPICS_OUT)]
        self.broker.create_topics(names, partitions=PARTITIONS)
        self._topics += names
        return prefix, names[0], f"{prefix}.decisions.billing", f"{prefix}.decisions.audit"

    def delete_topics(self):
        """Of all runs so far: a round writes some gigabytes."""
        if self._topics:
            self.broker.delete_topics(self._topics)
        self._topics = []


def load(*args):
    """Runs bench/load; its report as a dict. Wrong when an outcome is missing, double or strange."""
    run = subprocess.run([bench_binary("load"), *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    report = json.loads(run.stdout) if run.stdout else {}
    if run.returncode != 0:
        raise Wrong(f"load {' '.join(map(str, args))}: exit {run.returncode}, {report}")
    return report


def rate_of(report, count):
    """Outcomes a second, of the second half: the router raises the number of requests at once step by step."""
    return round((count - count // 2) / max(report["second_half_s"], 0.001), 1)


class VerdictUnderLoad:
    """`verdict run` with the benchmark's policy, exactly once. model: settings of its model that are not as usual."""

    audits = True

    def __init__(self, stage, in_flight, policies="model", model=None):
        self.prefix, self.topic, self.out, self.audit = stage.fresh_names()
        # Policies name their topic: a copy for this run's.
        folder = stage.directory / self.prefix / "billing"
        folder.mkdir(parents=True)
        text = (HERE / "policies" / policies / "billing" / "failed_payment.cfg").read_text()
        (folder / "failed_payment.cfg").write_text(text.replace("bench.in", self.topic))
        names = {name: f"{self.prefix}.decisions.{topic}" for name, topic in
                 [("review", "review"), ("shadow", "shadow"), ("audit", "audit"), ("dead_letter", "dead-letter")]}
        conf = worker.settings(
            stage.broker.bootstrap, stage.redis.address, stage.model.url,
            [{"name": self.topic, "format": "json"}], policies=folder.parent, group=f"bench-{self.prefix}")
        conf["policies"]["schemas"] = str(paths.SCHEMAS)
        conf["output"] = {"prefix": f"{self.prefix}.decisions", **names}
        conf["models"]["main"].update({"max_concurrency": in_flight, **(model or {})})
        conf["worker"] = {"max_in_flight": in_flight, "drain_timeout_ms": 2000}
        self._worker = worker.Worker(stage.directory, conf, name=f"worker-{self.prefix}")

    def start(self):
        self._worker.start()

    def start_at_once(self):
        """Without waiting until it is ready."""
        self._worker.start(ready=False)

    def stop(self):
        code = self._worker.stop()
        if code != 0:
            raise Wrong(f"the worker ended with {code}\n{self._worker.process.log_tail()}")

    def kill(self):
        self._worker.kill()

    def log(self):
        return self._worker.log()

    @property
    def pid(self):
        return self._worker.process.pid


class ComparisonUnderLoad:
    """comparison.py: the same job in plain Python, at-least-once."""

    audits = True

    def __init__(self, stage, in_flight, request_file, schemas=paths.SCHEMAS, client="aiohttp"):
        self.prefix, self.topic, self.out, self.audit = stage.fresh_names()
        self._process = Process(f"comparison-{self.prefix}", stage.directory / f"comparison-{self.prefix}.log")
        self._argv = [sys.executable, HERE / "comparison.py", stage.broker.bootstrap, f"bench-{self.prefix}", self.topic,
                      self.out, self.audit, stage.redis.port, stage.model.url, in_flight, request_file, schemas, client]

    def start(self):
        self._process.start(self._argv)
        wait_until(lambda: "ready" in self._process.log(), 30, "the comparison worker has its partitions", self._process)

    def stop(self):
        if not self._process.running():
            raise Wrong(f"the comparison worker ended by itself\n{self._process.log_tail()}")
        self._process.kill()  # at-least-once: it may be killed at any time

    def kill(self):
        self._process.kill()

    @property
    def pid(self):
        return self._process.pid


class MostAtOnce(threading.Thread):
    """The most requests that the simulated model had open at once meanwhile, as ten looks a second tell."""

    def __init__(self, simulator):
        super().__init__(daemon=True)
        self._simulator = simulator
        self._over = threading.Event()
        self.count = 0

    def run(self):
        while not self._over.wait(0.1):
            with contextlib.suppress(OSError):  # too busy to say: the next look will
                self.count = max(self.count, self._simulator.stats()["waiting"])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self.join()


def measure(stage, program, count, latency_ms, paced=None):
    """One run of a program. paced: (events, rate) for the second half, or None."""
    audit = program.audit if program.audits else "-"
    stage.latency(latency_ms)
    load("produce", stage.broker.bootstrap, program.topic, 0, count)
    try:
        program.start()
        pid = program.pid
        # What it took to become ready is not what a decision takes.
        before = cpu_seconds(pid)
        with MostAtOnce(stage.model) as most:
            report = load("collect", stage.broker.bootstrap, program.out, audit, 0, count, 120)
        after = cpu_seconds(pid)
        result = {
            "decisions": count,
            "decisions_per_s": rate_of(report, count),
            "cpu_us_per_decision": round((after - before) / count * 1e6, 1),
            "peak_rss_mib": round(memory_mib(pid, "VmHWM"), 1),
            "most_at_once": most.count,
        }
        if paced is not None:
            events, rate = paced(result["decisions_per_s"])
            report = load("paced", stage.broker.bootstrap, program.topic, program.out, audit, count, events, 120, rate)
            result["paced_per_s"] = round(rate)
            for name in ("p50_ms", "p99_ms", "p999_ms"):
                result[f"added_{name}"] = round(report[name] - latency_ms, 1)
            result["peak_rss_mib"] = round(memory_mib(pid, "VmHWM"), 1)
        program.stop()
        return result
    finally:
        program.kill()
