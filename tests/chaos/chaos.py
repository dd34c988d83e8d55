#!/usr/bin/env python3
"""Break everything on a seeded schedule, then let an independent reader judge: chaos.py --seed N --minutes M

Real Apache Kafka (VERDICT_KAFKA=4 or 3.9), several workers behind a proxy, three inputs: a plain topic of 12 partitions, one
written by a transactional producer that aborts some of its transactions, and a compacted one. Prints a table, and exits 1 unless
there is exactly one outcome for each input, in order for each partition and key, with nothing left unfinished and no stall longer
than session time-out + transaction time-out + 15 s.
"""

import argparse
import collections
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from chaos import checker  # noqa: E402
from chaos.proxy import Proxy  # noqa: E402
from support import paths  # noqa: E402
from support.broker import LINE, Broker  # noqa: E402
from support.copy_worker import CopyWorker  # noqa: E402
from support.processes import free_port, wait_until  # noqa: E402
from support.producer import Producer  # noqa: E402

SESSION_MS = 6000
TXN_MS = 5000
STALL_LIMIT_S = (SESSION_MS + TXN_MS) / 1000 + 15
PLAIN, TRANSACTIONAL, COMPACTED, OUTPUT = "events", "events.transactional", "events.compacted", "out"
GROUP = "chaos"


class Cluster:
    """A broker with a second listener that is reached through the proxy; tests use the direct one."""

    def __init__(self, directory, line=LINE):
        self.broker = Broker(directory, line)
        inner, outer = free_port(), free_port()
        config = self.broker._config
        config["listeners"] = config["listeners"] + f",PROXIED://127.0.0.1:{inner}"
        config["advertised.listeners"] = f"PLAINTEXT://{self.broker.bootstrap},PROXIED://127.0.0.1:{outer}"
        config["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
        config["log.cleaner.backoff.ms"] = 500
        config["transaction.abort.timed.out.transaction.cleanup.interval.ms"] = 1000
        self.broker.start()
        self.proxy = Proxy(outer, inner)
        self.bootstrap = self.broker.bootstrap
        self.proxied = f"127.0.0.1:{outer}"

    def create(self):
        self.broker.create_topics([PLAIN, OUTPUT], 12)
        self.broker.create_topics([TRANSACTIONAL], 4)
        self.broker.create_topics([COMPACTED], 4, {"cleanup.policy": "compact", "segment.ms": 1000, "max.compaction.lag.ms": 2000,
                                                   "min.cleanable.dirty.ratio": 0.01})


class Source(threading.Thread):
    """Writes the inputs, at a steady rate, through whatever happens to the broker."""

    def __init__(self, bootstrap, seed, rate, seconds, keys=500):
        super().__init__(daemon=True)
        self.bootstrap, self.rate, self.seconds, self.keys = bootstrap, rate, seconds, keys
        self.random = random.Random(seed)
        self.sent = collections.Counter()
        self.compacted_positions = set()
        self.error = None

    def run(self):
        try:
            self._run()
        except Exception as err:  # noqa: BLE001 - the main thread reports it
            self.error = err

    def _run(self):
        plain = Producer(self.bootstrap, config={"message.timeout.ms": 120000})
        begin, n = time.monotonic(), 0
        while (elapsed := time.monotonic() - begin) < self.seconds:
            while n < elapsed * self.rate:
                key = b"key-%d" % self.random.randrange(self.keys)
                topic = COMPACTED if n % 10 == 0 else PLAIN
                plain.send(topic, b"payload %d" % n, key=key)
                self.sent[topic] += 1
                n += 1
            if self.random.random() < 0.05:
                self._transaction()
            time.sleep(0.02)
        for topic, partition, offset in plain.flush():
            if topic == COMPACTED:
                self.compacted_positions.add(f"{topic}/{partition}/{offset}")

    def _transaction(self):
        """One transaction in three is aborted. A broker that dies in the middle leaves an open one behind, which times out."""
        import confluent_kafka
        client = None
        try:
            client = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap, "transactional.id": "chaos-source",
                                               "transaction.timeout.ms": 5000, "partitioner": "murmur2_random", "log_level": 0})
            client.init_transactions(3)
            client.begin_transaction()
            aborted = self.random.random() < 0.33
            for i in range(self.random.randrange(1, 40)):
                client.produce(TRANSACTIONAL, b"aborted" if aborted else b"committed",
                               key=b"key-%d" % self.random.randrange(self.keys))
            if aborted:
                client.flush(3)
                client.abort_transaction(3)
                self.sent["aborted transactions"] += 1
            else:
                client.commit_transaction(3)
                self.sent[TRANSACTIONAL] += i + 1
        except confluent_kafka.KafkaException:
            self.sent["transactions of unknown result"] += 1


class Workers:
    """The workers under test. A slot keeps its transactional id over all its lives."""

    def __init__(self, directory, bootstrap, count, env=None, options=None):
        self.slots = [CopyWorker(directory, f"w{i}", bootstrap, [PLAIN, TRANSACTIONAL, COMPACTED], OUTPUT, GROUP, env=env,
                                 session_ms=SESSION_MS,
                                 **{"txn_ms": TXN_MS, "delay_ms": 300, "in_flight": 1000, "interval_ms": 10, "seed": i + 1, **(options or {})})
                      for i in range(count)]
        self.exits = collections.Counter()

    def start_all(self):
        for slot in self.slots:
            self.ensure(slot)

    def ensure(self, slot):
        if not slot.process.running():
            code = slot.process.returncode()
            if code not in (None, 0, -9):
                self.exits[f"exit {code}"] += 1
            slot.start()

    def stop_all(self):
        for slot in self.slots:
            if slot.process.running():
                self.exits[f"exit {slot.stop(40)}"] += 1


class Faults:
    """Each is a method: it does the damage, waits, and repairs it."""

    def __init__(self, cluster, workers, rng, log):
        self.cluster, self.workers, self.rng, self.log = cluster, workers, rng, log

    def _slot(self):
        return self.rng.choice(self.workers.slots)

    def kill_worker(self):
        slot = self._slot()
        slot.kill()
        time.sleep(self.rng.uniform(0, 2))
        self.workers.ensure(slot)

    def kill_all_workers(self):
        for slot in self.workers.slots:
            slot.kill()
        time.sleep(self.rng.uniform(0, 1))
        self.workers.start_all()

    def zombie(self):
        slot = self._slot()
        self.workers.ensure(slot)
        slot.process.pause()
        time.sleep(SESSION_MS / 1000 + self.rng.uniform(0.5, 4))
        slot.process.resume()

    def short_pause(self):
        slot = self._slot()
        self.workers.ensure(slot)
        slot.process.pause()
        time.sleep(self.rng.uniform(0.5, 4))
        slot.process.resume()

    def slow_zombie(self):
        """It sleeps in the middle of a commit, and wakes up into one."""
        slot = self._slot()
        self.workers.ensure(slot)
        self.cluster.proxy.delay_s = 0.8
        time.sleep(self.rng.uniform(3, 7))
        slot.process.pause()
        self.cluster.proxy.mend()
        time.sleep(SESSION_MS / 1000 + 4)
        self.cluster.proxy.delay_s = 0.8
        slot.process.resume()
        time.sleep(6)
        self.cluster.proxy.mend()

    def rolling_restart(self):
        for slot in self.workers.slots:
            if slot.process.running():
                self.workers.exits[f"exit {slot.stop(40)}"] += 1
            self.workers.ensure(slot)
            time.sleep(self.rng.uniform(0, 1))

    def leave_and_join(self):
        slot = self._slot()
        if slot.process.running():
            self.workers.exits[f"exit {slot.stop(40)}"] += 1
        time.sleep(self.rng.uniform(1, 5))
        self.workers.ensure(slot)

    def broker_restart(self):
        self.cluster.broker.restart(clean=True)

    def broker_kill(self):
        self.cluster.broker.restart(clean=False)

    def network_cut(self):
        self.cluster.proxy.cut()
        time.sleep(self.rng.uniform(0.5, 8))
        self.cluster.proxy.mend()

    def lost_answers(self):
        """Requests arrive, their answers do not: also commits."""
        self.cluster.proxy.swallow_answers = True
        time.sleep(self.rng.uniform(0.2, 1.5))
        self.cluster.proxy.drop_connections()
        self.cluster.proxy.mend()

    def slow_network(self):
        self.cluster.proxy.delay_s = self.rng.uniform(0.05, 0.4)
        time.sleep(self.rng.uniform(2, 6))
        self.cluster.proxy.mend()


    def kill_on_slow_network(self):
        """The slower the network, the more likely it hits between two steps of a commit."""
        self.cluster.proxy.delay_s = self.rng.uniform(0.05, 0.3)
        time.sleep(self.rng.uniform(1, 3))
        for slot in self.workers.slots:
            slot.kill()
        self.cluster.proxy.mend()
        self.workers.start_all()


ALL = ["kill_worker"] * 4 + ["kill_on_slow_network"] + ["kill_all_workers", "zombie", "slow_zombie", "short_pause", "rolling_restart", "leave_and_join", "broker_restart",
                             "broker_kill", "network_cut", "lost_answers", "lost_answers", "slow_network"]


def run(directory, seed, seconds, rate, workers=3, names=tuple(ALL), env=None, options=None, quiet=False, settle_s=90, line=LINE):
    """One run; returns (verdict, table rows). Raises only when the harness itself fails."""
    rng = random.Random(seed)
    log = (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr, flush=True))
    cluster = Cluster(directory / "broker", line)
    cluster.create()
    pool = Workers(directory, cluster.proxied, workers, env, options)
    source = Source(cluster.bootstrap, seed, rate, seconds)
    watcher = checker.Watcher(cluster.bootstrap, [OUTPUT])
    faults, done = Faults(cluster, pool, rng, log), collections.Counter()
    try:
        pool.start_all()
        source.start()
        wait_until(lambda: watcher.poll(0.2) or watcher.records, 40, "the first outcome")
        watcher.longest_gap_s = 0.0
        stop = threading.Event()
        reading = threading.Thread(target=lambda: [watcher.poll(0.2) for _ in iter(stop.is_set, True)], daemon=True)
        reading.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name = rng.choice(names)
            log(f"{seconds - (end - time.monotonic()):7.1f} s  {name}")
            getattr(faults, name)()
            done[name] += 1
            for slot in pool.slots:
                pool.ensure(slot)
            time.sleep(rng.uniform(0.2, 3))
        source.join(150)
        assert not source.is_alive() and source.error is None, f"the source failed: {source.error}"
        finished = settle(cluster, pool, settle_s)
        stop.set()
        reading.join(10)
        stall = watcher.longest_gap_s
        outcomes = watcher.drain(60)
        inputs_watcher = checker.Watcher(cluster.bootstrap, [PLAIN, TRANSACTIONAL, COMPACTED])
        inputs = inputs_watcher.drain(120)
        verdict = checker.judge(inputs, outcomes, [COMPACTED], {COMPACTED: source.compacted_positions})
        verdict.unfinished = finished
        statuses = [slot.status() for slot in pool.slots if slot.process.running()]
        pool.stop_all()
    finally:
        for slot in pool.slots:
            slot.kill()
        cluster.broker.kill()
    rows = [("seed", seed), ("Kafka", cluster.broker.line), ("workers", workers)]
    rows += [(f"fault: {name}", n) for name, n in sorted(done.items())]
    rows += [(f"source: {name}", n) for name, n in sorted(source.sent.items())]
    rows += [("inputs", verdict.inputs), ("outcomes", verdict.outcomes), *verdict.faults().items(),
             ("longest stall (s)", round(stall, 1)), ("limit of a stall (s)", STALL_LIMIT_S)]
    rows += [(f"last lives: {name}", sum(s[name] for s in statuses)) for name in ("aborts", "unknown", "rebuilds", "fenced")]
    rows += [(f"workers: {name}", n) for name, n in sorted(pool.exits.items())]
    return verdict, rows, stall


def settle(cluster, pool, seconds):
    """Waits until the group has committed the end of every input; what is missing then is unfinished."""
    def missing():
        left = []
        for topic in (PLAIN, TRANSACTIONAL, COMPACTED):
            committed, ends = cluster.broker.committed(GROUP, topic), cluster.broker.end_offsets(topic)
            left += [f"{topic}/{p}: {committed[p]} of {end}" for p, end in ends.items() if end > 0 and committed[p] != end]
        return left

    deadline = time.monotonic() + seconds
    while (left := missing()) and time.monotonic() < deadline:
        time.sleep(0.5)
        pool.start_all()
    return left


def print_table(rows):
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--events", type=int, default=100_000, help="at least so many in the whole run")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kafka", default=LINE, help="4 or 3.9")
    parser.add_argument("--assignor", default="cooperative-sticky")
    args = parser.parse_args()
    seed = random.randrange(1 << 30) if args.seed is None else args.seed
    seconds = args.minutes * 60
    print(f"seed {seed}", file=sys.stderr)
    verdict, rows, stall = run(paths.run_dir() / f"chaos-{seed}", seed, seconds, max(args.events / seconds, 100), args.workers,
                               options={"assignor": args.assignor}, line=args.kafka)
    print_table(rows)
    for name in verdict.faults():
        for what in getattr(verdict, name)[:10]:
            print(f"{name}: {what}")
    return 0 if verdict.clean() and stall <= STALL_LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
