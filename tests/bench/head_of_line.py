#!/usr/bin/env python3
"""Does one stuck key hold the others? head_of_line.py --partitions 2 --rate 400

Two runs of one worker over a real broker and the simulated model, alike but for one thing: in the second, each partition has a key
whose model calls never answer, so that each of its events takes the whole deadline of 20 s. Prints the p50 and p99 of all other
keys, from the producer's clock to a read_committed reader, and their ratio; exits 1 when that of the p99 is above 1.3.

At 800 events a second a partition, 20 s are 16,000 records above the stuck one: just below kafka.max_offset_span.
"""

import argparse
import json
import pathlib
import sys
import threading
import time

import confluent_kafka

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support import libconfig, paths  # noqa: E402
from support.broker import Broker  # noqa: E402
from support.model import ModelSim  # noqa: E402
from support.processes import wait_until  # noqa: E402
from support.worker import Worker, settings  # noqa: E402

DEADLINE_MS = 20000
LIMIT = 1.3
OUTPUTS = ["decisions.orders", "decisions.review", "decisions.shadow", "decisions.audit", "decisions.dead-letter"]


class Reading(threading.Thread):
    """Seconds from the producer's clock to here, by the time the event was sent; those of the stuck key apart."""

    def __init__(self, bootstrap):
        super().__init__(daemon=True)
        self.waits, self.stuck, self.ended = [], [], threading.Event()
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": bootstrap, "group.id": "head-of-line", "enable.auto.commit": False, "fetch.wait.max.ms": 10,
            "isolation.level": "read_committed", "log_level": 0})
        end = self.consumer.get_watermark_offsets(confluent_kafka.TopicPartition(OUTPUTS[0], 0), timeout=10)[1]
        self.consumer.assign([confluent_kafka.TopicPartition(OUTPUTS[0], 0, end)])

    def run(self):
        while not self.ended.is_set():
            for msg in self.consumer.consume(1000, timeout=0.05):
                if msg.error():
                    continue
                decision = json.loads(msg.value())
                sent = float(decision["event"]["id"].split("-")[1])
                (self.stuck if decision["key"].startswith("stuck") else self.waits).append((sent, time.time() - sent))
        self.consumer.close()


def write_policy(directory, topic):
    folder = directory / "policies" / "orders"
    folder.mkdir(parents=True)
    (folder / "every.cfg").write_text(libconfig.dumps({
        "policy": {"id": "orders.every", "version": 1, "mode": "enforce"},
        "input": {"topics": [topic], "when": "true", "key": "{event.data.customer}"},
        "reasoning": {"goal": "Ship what can be shipped.", "show": ["/event/data/customer"]},
        "actions": {"ship": {}, "hold": {}},
        "budget": {"deadline_ms": DEADLINE_MS, "max_model_calls": 1},
        "fallback": {"action": "hold"}}))
    return directory / "policies"


def send(bootstrap, topic, args, stuck):
    """At a steady rate, to each partition. Of the stuck key one event a second."""
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "log_level": 0})
    begin, n, seconds = time.monotonic(), 0, -1
    while (elapsed := time.monotonic() - begin) < args.seconds:
        while n < elapsed * args.rate:
            for partition in range(args.partitions):
                _send_one(producer, topic, partition, f"c-{n % 2000}", n)
            n += 1
        if stuck and int(elapsed) > seconds:
            seconds = int(elapsed)
            for partition in range(args.partitions):
                _send_one(producer, topic, partition, f"stuck-{partition}", n)
        producer.poll(0)
        time.sleep(0.002)
    assert producer.flush(30) == 0
    return n * args.partitions


def _send_one(producer, topic, partition, customer, n):
    value = {"id": f"{n}-{time.time():.6f}", "type": "order", "data": {"customer": customer}}
    producer.produce(topic, json.dumps(value).encode(), key=customer.encode(), partition=partition)


def measure(broker, directory, args, stuck):
    """({p: seconds}, decided in time, longest wait of the stuck key)"""
    name = "stuck" if stuck else "free"
    topic = f"orders.{name}"
    broker.create_topics([topic], args.partitions)
    sim = ModelSim(directory / name, "--latency", f"{args.latency_ms}").start()
    sim.control(rules=[{"match": "stuck-", "answers": [{"hang": True}]}])
    conf = settings(broker.bootstrap, None, sim.url, [{"name": topic, "format": "json"}], redis=None,
                    policies=write_policy(directory / name, topic), group=name, kafka={"transactional_id": name})
    worker, reading = Worker(directory / name, conf).start(), Reading(broker.bootstrap)
    try:
        reading.start()
        begin = time.time() + args.warm_up_s
        sent = send(broker.bootstrap, topic, args, stuck)
        late = DEADLINE_MS / 1000 + 10
        wait_until(lambda: len(reading.waits) >= sent, late, f"{sent} decisions of other keys, {len(reading.waits)} came",
                   worker.process, interval=0.1)
        if stuck:
            wait_until(lambda: reading.stuck, late, "a decision of the stuck key", worker.process, interval=0.1)
        span = max((p["span"] for p in worker.status()["partitions"]), default=0)
    finally:
        worker.kill()
        sim.kill()
        reading.ended.set()
        reading.join(5)
    waits = sorted(wait for when, wait in reading.waits if when >= begin)
    assert waits, "the run is not longer than its warm-up"
    return {p: waits[int(len(waits) * p / 100)] for p in (50, 99)}, max((w for _, w in reading.stuck), default=0), span


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--rate", type=int, default=400, help="events a second a partition; more than 800 fill the offset span")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--warm-up-s", type=float, default=10, help="not counted: concurrency grows from its start")
    parser.add_argument("--latency-ms", type=int, default=100, help="of the model")
    args = parser.parse_args()
    directory = paths.run_dir() / "head-of-line"
    broker = Broker(directory / "kafka").start()
    try:
        broker.create_topics(OUTPUTS)
        free, _, _ = measure(broker, directory, args, stuck=False)
        stuck, longest, span = measure(broker, directory, args, stuck=True)
    finally:
        broker.kill()
    print(f"{args.partitions} partitions, {args.rate} events a second each, model answers in {args.latency_ms} ms")
    print(f"{'':<28}{'p50 ms':>10}{'p99 ms':>10}")
    for name, waits in (("without a stuck key", free), ("one stuck key a partition", stuck)):
        print(f"{name:<28}{waits[50] * 1000:>10.0f}{waits[99] * 1000:>10.0f}")
    ratio = stuck[99] / free[99]
    print(f"{'ratio':<28}{stuck[50] / free[50]:>10.2f}{ratio:>10.2f}   limit {LIMIT}")
    print(f"the stuck key's events took up to {longest:.1f} s; {span} records stood above one of them at the end")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
