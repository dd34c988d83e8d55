"""kill -9 with a thousand events in flight: the restarted worker does again only what was unfinished, shown by counts."""

import json

import pytest

from support import libconfig, model, records
from support.processes import wait_until
from support.producer import Producer, unique_id
from support.reader import Reader
from support.worker import Worker, settings

EVENTS, IN_FLIGHT, TXN_MS = 3000, 1000, 5000
MARK = "number-of-this-event-"


@pytest.fixture
def spot(broker, binary, topics, test_dir):
    class Spot:
        def __init__(self):
            self.prefix = unique_id("resume")
            self.source = topics("in", partitions=4)
            names = {name: f"{self.prefix}.{name}" for name in ("decisions.orders", "review", "shadow", "audit", "dead-letter")}
            self.outputs = list(names.values())
            broker.create_topics(self.outputs, partitions=2)
            # It counts the requests for each event by what follows the mark.
            self.sim = model.ModelSim(test_dir, "--latency", "uniform:1000:3000", "--count-by", MARK).start()
            folder = test_dir / "policies" / "orders"
            folder.mkdir(parents=True)
            (folder / "every.cfg").write_text(libconfig.dumps({
                "policy": {"id": "orders.every", "version": 1, "mode": "enforce"},
                "input": {"topics": [self.source], "when": "true", "key": "{event.id}"},
                "reasoning": {"goal": "Ship what can be shipped.", "show": ["/event/data/mark"]},
                "actions": {"ship": {}, "hold": {}},
                "budget": {"deadline_ms": 60000, "max_model_calls": 1},
                "fallback": {"action": "hold"}}))
            conf = settings(
                broker.bootstrap, None, self.sim.url, [{"name": self.source, "format": "json"}],
                policies=test_dir / "policies", group=self.prefix, redis=None,
                kafka={"transactional_id": self.prefix, "transaction_timeout_ms": TXN_MS, "session_timeout_ms": 6000},
                worker={"max_in_flight": IN_FLIGHT},
                output={"prefix": f"{self.prefix}.decisions", **{name.replace("-", "_"): names[name] for name in
                                                                ("review", "shadow", "audit", "dead-letter")}})
            self.worker = Worker(test_dir, conf)

        def decided(self, idle_s=0.5):
            """{offset in its partition: how often}, of all that a read_committed reader sees."""
            with Reader(broker.bootstrap, [self.outputs[0]]) as reader:
                found = [records.event_position(json.loads(r.value)) for r in reader.drain(idle_s=idle_s, timeout=60)]
            return {position: found.count(position) for position in found}

    spot = Spot()
    yield spot
    spot.worker.kill()
    spot.sim.kill()
    broker.delete_topics(spot.outputs)


def test_after_a_kill_only_what_was_unfinished_is_decided_again(broker, spot):
    producer = Producer(broker.bootstrap)
    for n in range(EVENTS):
        producer.send(spot.source, {"id": f"e-{n}", "type": "order", "data": {"mark": f"{MARK}{n}"}}, key=b"%d" % n)
    producer.flush()
    worker = spot.worker.start()

    def under_way():
        status = worker.status()
        return status["work"]["in_flight"] >= IN_FLIGHT and status["kafka"]["committed_records"] >= 500 and status

    before = wait_until(under_way, 60, f"{IN_FLIGHT} are in flight and some are committed", worker.process, interval=0.005)
    worker.kill()
    # What the dead worker was committing ends one way or the other within its transaction's time-out.
    published = spot.decided(idle_s=TXN_MS / 1000 + 3)
    asked_before = spot.sim.stats()
    unfinished = EVENTS - len(published)

    worker.start()
    wait_until(lambda: broker.committed(spot.prefix, spot.source) == broker.end_offsets(spot.source), 60,
               "every record is finished", worker.process, interval=0.2)
    after, asked = worker.status(), spot.sim.stats()
    assert worker.stop() == 0

    decided = spot.decided()
    assert len(decided) == EVENTS and set(decided.values()) == {1}
    assert after["work"]["records"] == unfinished, "it worked on what was unfinished, all of it and nothing else"
    assert asked["requests"] - asked_before["requests"] == unfinished, "and asked the model once for each"
    twice = [n for n, times in asked["markers"].items() if times > 1]
    assert len(twice) == asked["requests"] - EVENTS <= IN_FLIGHT
    print(f"\nkilled with {before['work']['in_flight']} in flight, {len(published)} of {EVENTS} published, "
          f"{asked_before['requests']} requests to the model; the restarted worker worked on {after['work']['records']}, skipped "
          f"{after['kafka']['skipped_finished']} finished ones, and sent {asked['requests'] - asked_before['requests']} requests, "
          f"{len(twice)} of them for events that the dead one had asked about")
