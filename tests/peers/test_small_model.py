"""A real language model decides through the whole worker: real Kafka, real Redis, every shipped policy.

The model is a very small one: that it decides badly is expected and stays inside the policies; that is the point. Its answers
are held to the schema by a grammar. Deadlines are lifted, since on a busy machine it needs a minute for what takes others a second.
"""

import collections
import time

import pytest

from support import deciding, hostile, model, peers, records, shipped
from support.processes import wait_until
from support.producer import Producer
from support.worker import Worker

DEADLINE_MS = 600_000
EVENTS_EACH = 2


def events(policy):
    """The policy's sample, and of its cases some more that a model would be asked about."""
    more = [case.body["event"] for case in deciding.cases(policy) if case.body.get("model") and case.body["expect"]["status"] == "decided"]
    return [shipped.sample(policy), *more][:EVENTS_EACH]


def kind(decision):
    """How the decision came to be, in one word."""
    if decision["status"] != "decided":
        return f"{decision['status']} ({decision['degraded_reason'] or 'by rule'})"
    if decision["decided_by"] != "model":
        return f"decided by {decision['decided_by']}"
    return "decided by the model" + (", repaired" if decision["usage"]["repairs"] else "")


def test_a_small_model_decides_inside_every_policy(broker, redis, binary, test_dir, fetched, capsys):
    small = fetched(lambda: peers.SmallModel(test_dir).start())
    world = shipped.Shipped(broker, redis, test_dir / "world", "small")
    (test_dir / "world").mkdir()
    world.install(deadline_ms=DEADLINE_MS)
    # A loose schema has a form for each action, of which the grammar lets the model take one.
    entry = {"main": {"url": small.url, "model": "smollm2-135m-instruct", "schema": "loose", "timeout_ms": DEADLINE_MS, "max_concurrency": 1}}
    worker = Worker(test_dir, world.settings(small.url, models=entry, worker={"max_fallback_ratio": 1.0})).start()
    sent, began = {}, time.monotonic()
    try:
        producer, seen = Producer(broker.bootstrap), []
        for path, conf in world.conf.items():
            topic, = conf["input"]["topics"]
            for event in events(path):
                if (topic, event) not in seen:
                    seen.append((topic, event))
                    event = deciding.just_now(event)
                    sent[world.send(producer, topic, event, key=b"k")] = event
                    producer.flush()  # one after the other: deadlines run from the fetch, and the model answers one at a time
                    wait_until(world.finished, 1800, "the model has had its say", worker.process, interval=0.5)
        assert worker.stop() == 0
    finally:
        worker.kill()
        small.stop()
    found = world.read()
    decisions, lost = world.decisions(found), world.dead_letters(found)

    counts = collections.Counter(kind(value) for value, _ in decisions)
    calls = sum(value["usage"]["model_calls"] for value, _ in decisions)
    tokens = sum(value["usage"]["input_tokens"] + value["usage"]["output_tokens"] for value, _ in decisions)
    with capsys.disabled():
        print(f"\nsmall model: {len(decisions)} decisions on {len(sent)} events, {calls} calls, {tokens} tokens, "
              f"{time.monotonic() - began:.0f} s")
        for text, number in counts.most_common():
            print(f"  {number:3} {text}")

    known = world.our_words()
    outside = [f"{value['policy_id']}: {fault}" for value, conf in decisions
               for fault in hostile.faults(conf, value, known | {leaf for _, leaf in hostile.leaves(sent[records.event_position(value)])
                                                                 if isinstance(leaf, str)})]
    assert outside == []
    assert {records.event_position(value) for value, _ in decisions} | set(lost) == set(sent)
    assert counts["decided by the model"] + counts["decided by the model, repaired"] >= 1
    assert calls and tokens > calls * 100, "usage is counted"


def test_a_model_that_thinks_for_longer_than_half_a_minute_is_waited_for(test_dir, binary):
    """An answer that is not streamed is silence to its end; timeout_ms bounds it, and nothing else does."""
    policy, = [path for path in deciding.policies() if path.stem == "dunning"]
    plain = deciding.decided_by_a_model(policy)
    case = deciding.Case(deciding.with_a_tool(test_dir, policy, deadline_ms=60_000), plain.body)
    answer = plain.body["model"][0]

    def slowly(request):
        return model.Reply(model.completion(deciding.proposal(model.asked_schema(request), answer)), delay_s=33)

    with model.ScriptedModel(slowly) as scripted:
        result = deciding.decide(test_dir, case, {"slow": {"url": scripted.url, "model": "m"}}, timeout=120)
        assert len(scripted.requests) == 1
    assert (result.decision["status"], result.decision["action"]) == ("decided", answer["action"])
