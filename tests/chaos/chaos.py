#!/usr/bin/env python3
"""Break everything on a seeded schedule, then let an independent reader judge: chaos.py --seed N --minutes M

Real Apache Kafka (4 or 3.9), a real Redis, the simulated model, several `verdict run` behind a proxy, two policies, three
inputs: a plain topic of 12 partitions, one written by a transactional producer that aborts some of its transactions, and a
compacted one. Prints a table, and exits 1 unless there is exactly one outcome for each input and matching policy, in order
for each partition and key, with its audit record, with nothing left unfinished, no worker that crashed, and no stall longer
than session time-out + transaction time-out + 15 s, the time in which a fault was still going on (a broker down) not counted.

The seed gives the schedule of faults and the events; which operation a fault hits is up to the machine.
"""

import argparse
import collections
import pathlib
import random
import shutil
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from chaos import checker, faults, world  # noqa: E402
from chaos.copying import Copying  # noqa: E402
from chaos.deciding import Deciding  # noqa: E402
from support import paths  # noqa: E402
from support.broker import LINE  # noqa: E402
from support.processes import wait_until  # noqa: E402

POOLS = {"verdict": Deciding, "copy": Copying}


class Run:
    """One run over a cluster that is there already."""

    def __init__(self, cluster, directory, seed, seconds, rate, kind="verdict", workers=3, names=None, prefix="", quiet=False,
                 settle_s=90, enough=None, **options):
        self.cluster, self.seed, self.seconds, self.workers, self.quiet = cluster, seed, seconds, workers, quiet
        self.settle_s, self.enough = settle_s, enough
        self.rng = random.Random(seed)
        self.inputs = world.Inputs(cluster, prefix)
        self.pool = POOLS[kind](cluster, self.inputs, directory, workers, **options)
        self.names = names or faults.OF_WORKERS + faults.OF_BROKER + self.pool.own_faults
        self.source = world.Source(cluster.bootstrap, self.inputs, seed, rate, seconds)
        self.watcher = checker.Watcher(cluster.bootstrap, self.pool.outputs, self.pool.read)
        self.done = collections.Counter()
        self.timeline = []  # (fault, when it began, when it was over)

    def log(self, text):
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def break_things(self):
        """Until the time is up, or what was looked for was seen. No fault twice before each was there once."""
        breaking, deck = faults.Faults(self.cluster, self.pool, self.rng), []
        begin = time.monotonic()
        while time.monotonic() - begin < self.seconds and not (self.enough and self.enough(self.watcher.items)):
            if not deck:
                deck = self.rng.sample(self.names, len(self.names))
            name = deck.pop()
            self.log(f"{time.monotonic() - begin:7.1f} s  {name}")
            began = time.monotonic()
            getattr(breaking, name)()
            self.timeline.append((name, began, time.monotonic()))
            self.done[name] += 1
            self.pool.start_all()
            time.sleep(self.rng.uniform(0.2, 3))

    def unfinished(self):
        """Waits until the group has committed the end of every input; what is missing then is unfinished."""
        def missing():
            left = []
            for topic in self.inputs.topics:
                committed, ends = self.cluster.broker.committed(self.inputs.group, topic), self.cluster.broker.end_offsets(topic)
                left += [f"{topic}/{p}: {committed[p]} of {end}" for p, end in ends.items() if end > 0 and committed[p] != end]
            return left

        deadline = time.monotonic() + self.settle_s
        while (left := missing()) and time.monotonic() < deadline:
            time.sleep(0.5)
            self.pool.start_all()
        return left

    def go(self):
        """Returns (verdict, rows of the table, longest stall). Raises only when the harness itself fails."""
        stop = threading.Event()
        reading = threading.Thread(target=lambda: [self.watcher.poll(0.2) for _ in iter(stop.is_set, True)], daemon=True)
        try:
            self.pool.start_all()
            self.source.start()
            wait_until(lambda: self.watcher.poll(0.2) or self.watcher.items, 40, "the first outcome")
            self.watcher.gaps.clear()
            reading.start()
            self.break_things()
            early = bool(self.enough and self.enough(self.watcher.items))
            self.source.stop.set()
            self.source.join(150)
            assert not self.source.is_alive() and self.source.error is None, f"the source failed: {self.source.error}"
            left = [] if early else self.unfinished()
            stop.set()
            reading.join(30)
            gaps = list(self.watcher.gaps)
            outcomes = self.watcher.drain(60)
            reader = checker.Watcher(self.cluster.bootstrap, self.inputs.topics, checker.read_input)
            inputs = reader.drain(120)
            verdict = checker.judge(inputs, outcomes, self.pool.expect, self.source.compacted)
            waits = checker.waits(inputs, outcomes)
            verdict.unfinished = left
            verdict.audit_mismatch = self.pool.audit_mismatch(outcomes)
            counts = self.pool.counts()
            if not early:
                self.pool.stop_all()
            verdict.crashed = self.pool.crashed()
        finally:
            stop.set()
            self.pool.end()
        stall = max((self.stall_s(gap) for gap in gaps), default=0.0)
        return verdict, self.table(verdict, stall, gaps, waits, counts), stall

    def stall_s(self, gap):
        """Of a time without any outcome, what no fault in progress explains (a broker that is down, a Redis that is paused)."""
        begin, end = gap
        return end - begin - sum(max(0, min(end, over) - max(begin, began)) for _, began, over in self.timeline)

    def table(self, verdict, stall, gaps, waits, counts):
        rows = [("seed", self.seed), ("Kafka", self.cluster.broker.line), ("workers", self.workers)]
        rows += [(f"fault: {name}", n) for name, n in sorted(self.done.items())]
        rows += [("faults injected", self.done.total())]
        rows += [(f"source: {name}", n) for name, n in sorted(self.source.sent.items())]
        rows += [("inputs", verdict.inputs), ("pairs of input and policy", verdict.pairs), ("outcomes", verdict.outcomes)]
        kinds = collections.Counter(o.kind for o in self.watcher.items)
        rows += [(f"outcomes: {kind}", n) for kind, n in sorted(kinds.items())]
        rows += [*verdict.faults().items(), ("longest stall (s)", round(stall, 1)), ("limit of a stall (s)", world.STALL_LIMIT_S),
                 ("longest time without an outcome (s)", round(max((end - begin for begin, end in gaps), default=0.0), 1)),
                 ("wait of an event: p50, p99, longest (s)", ", ".join(f"{waits[int(q * (len(waits) - 1))]:.1f}" for q in (0.5, 0.99, 1)))]
        return rows + counts + [(f"workers that ended with {code}", n) for code, n in sorted(self.pool.exits.items())]


def run(directory, seed, seconds, rate, line=LINE, **options):
    """One run on a cluster of its own."""
    cluster = world.Cluster(directory / "broker", line)
    try:
        return Run(cluster, directory, seed, seconds, rate, **options).go()
    finally:
        cluster.broker.kill()


def print_table(rows):
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def print_violations(verdict):
    for name in verdict.faults():
        for what in getattr(verdict, name)[:10]:
            print(f"{name}: {what}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--events", type=int, default=100_000, help="at least so many in a run of ten minutes")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--kafka", default=LINE, help="4 or 3.9")
    parser.add_argument("--kind", default="verdict", choices=POOLS, help="the worker, or worker/kafka alone")
    parser.add_argument("--assignor", default="cooperative-sticky")
    args = parser.parse_args()
    seed = random.randrange(1 << 30) if args.seed is None else args.seed
    print(f"seed {seed}", file=sys.stderr)
    directory = paths.run_dir() / f"chaos-{seed}"
    # A tenth is for the faults that stop the source, too.
    verdict, rows, stall = run(directory, seed, args.minutes * 60, args.events / 540, line=args.kafka, kind=args.kind,
                               workers=args.workers, assignor=args.assignor)
    print_table(rows)
    print_violations(verdict)
    if verdict.clean() and stall <= world.STALL_LIMIT_S:
        return 0
    kept = directory.parents[1] / f"failed-{seed}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.move(directory, kept)
    print(f"the logs are kept: {kept}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
