"""orders.promise as it is shipped, negotiating with sixty customers at once for a few days with little room.

Each customer has a way of its own: takes the first offer, declines, counters twice and then accepts, or never answers. Whatever
they do and in whatever order it comes, no day is promised to more of them than it has room for.
"""

import collections
import json
import re

import pytest

from support import model, paths, records
from support.producer import Producer, cloudevent, unique_id
from support.reader import Reader
from support.worker import Worker, settings

ROOM = {"2026-01-16": 7, "2026-01-17": 11, "2026-01-19": 24}  # fewer than there are customers
COST = dict(zip(ROOM, (1900, 900, 490)))
WAYS = ("accepts", "declines", "counters", "is silent")
ORDERS = {f"o-{n}": WAYS[n % 4] for n in range(60)}
MAX_ROUNDS = 3


def eager(request):
    """Offers the first day; the next one for each refusal. A later day, and a counter, get a little money."""
    if "offer" not in model.asked_schema(request)["properties"]["action"]["enum"]:
        return model.completion(model.answer_to(request, "stand", {}))
    text = model.asked_text(request)
    dates = re.findall(r"[0-9-]{10}", re.search(r'"dates":\[([^]]*)\]', text)[1])
    refused = sum(message["role"] == "assistant" for message in request["messages"])
    if refused >= len(dates):
        return model.completion(model.answer_to(request, "withdraw", {"reason": "no_capacity"}))
    return model.completion(model.answer_to(request, "offer", {
        "date": dates[refused],
        "compensation_minor": 0 if refused == 0 else int(re.search(r'"pays":(\d+)', text)[1]) + 100}))


class Negotiation:
    """The customers' side: asks for each order, reads decisions, answers each offer in the order's way."""

    def __init__(self, bootstrap, source, decisions):
        self.producer = Producer(bootstrap)
        self.source = source
        self.reader = Reader(bootstrap, [decisions])
        self.said = collections.defaultdict(list)  # order: its decisions, in order
        self.seen = 0
        self.open = set(ORDERS)

    def say(self, order, kind, **data):
        value, headers = cloudevent(unique_id("ask"), kind, {
            "order": order, "region": "hamburg", "value_minor": 24900, "currency": "EUR", "wanted": "2026-01-16", "latest": None,
            **data})
        self.producer.send_one(self.source, value, key=order.encode(), headers=list(headers))

    def answer(self, order, decision):
        way = ORDERS[order]
        if decision["action"] != "offer" or way == "is silent":
            self.open.discard(order)
        elif way == "counters" and decision["round"] is not None and len(self.said[order]) < MAX_ROUNDS:
            self.say(order, "promise.answered", answer="counter", message="Is that the best you can do?")
        else:
            self.say(order, "promise.answered", answer="decline" if way == "declines" else "accept")

    def run(self):
        for order in ORDERS:
            self.say(order, "promise.requested")
        self.reader.until(self._all_over, 60, "every negotiation is over")

    def _all_over(self, found):
        for record in found[self.seen:]:
            decision = records.check_decision(record)
            self.said[decision["key"]].append(decision)
            self.answer(decision["key"], decision)
        self.seen = len(found)
        return not self.open


@pytest.fixture(scope="module")
def said(brokers, binary, run_dir, redis_shared):
    """{order: its decisions}"""
    broker = brokers("kafka-negotiation")
    directory = run_dir / "negotiation"
    (directory / "policies" / "orders").mkdir(parents=True)
    for path in (paths.POLICIES / "orders").glob("promise.*"):
        (directory / "policies" / "orders" / path.name).write_bytes(path.read_bytes())
    (directory / "schemas").symlink_to(paths.SCHEMAS)
    broker.create_topics(["orders.negotiation"], 3)
    broker.create_topics(["decisions.orders", "decisions.review", "decisions.shadow", "decisions.audit", "decisions.dead-letter"])
    redis = redis_shared.client()
    redis.flushall()
    redis.hset("delivery:hamburg", mapping={day: json.dumps({"room": room, "cost_minor": COST[day]}) for day, room in ROOM.items()})
    with model.ScriptedModel(eager) as scripted:
        worker = Worker(directory, settings(broker.bootstrap, redis_shared.address, scripted.url,
                                            [{"name": "orders.negotiation", "format": "cloudevents"}],
                                            policies=directory / "policies", group="negotiation")).start()
        try:
            negotiation = Negotiation(broker.bootstrap, "orders.negotiation", "decisions.orders")
            negotiation.run()
            assert worker.stop() == 0
        finally:
            worker.kill()
    negotiation.reader.close()
    return negotiation.said


def promised(said):
    """[(when, order, the day that is held or kept for it from then on, or None)] of all decisions, in the order of their time."""
    out = []
    for order, decisions in said.items():
        for decision in decisions:
            if decision["action"] in ("offer", "confirm", "withdraw"):
                out.append((decision["time_ms"], order, (decision["params"] or {}).get("date")))
    return sorted(out, key=lambda row: row[0])


def test_each_customer_gets_an_end_that_fits(said):
    assert set(said) == set(ORDERS)
    for order, decisions in said.items():
        offers = [decision for decision in decisions if decision["action"] == "offer"]
        last = decisions[-1]["action"], ORDERS[order]
        assert len(offers) <= MAX_ROUNDS
        if offers:
            assert last in (("confirm", "accepts"), ("withdraw", "declines"), ("confirm", "counters"), ("offer", "is silent"),
                            ("stand", "counters"), ("withdraw", "counters")), decisions[-1]
        else:  # everything was full: the model said so, or had no call left to
            assert decisions[-1]["action"] in ("withdraw", "stand")


def test_some_negotiate_for_three_rounds_and_each_offer_is_better(said):
    three = 0
    for decisions in said.values():
        offers = [decision for decision in decisions if decision["action"] == "offer"]
        three += len(offers) == MAX_ROUNDS
        for before, after in zip(offers, offers[1:]):
            assert after["params"]["date"] < before["params"]["date"] or \
                after["params"]["compensation_minor"] > before["params"]["compensation_minor"]
    assert three > 0


def test_what_is_confirmed_is_what_was_offered_last(said):
    confirmed = 0
    for decisions in said.values():
        for before, after in zip(decisions, decisions[1:]):
            if after["action"] == "confirm":
                assert after["params"] == before["params"] and after["decided_by"] == "shortcut"
                assert after["time_ms"] < before["valid_until_ms"]
                confirmed += 1
    assert confirmed >= 10


def test_no_day_is_promised_to_more_than_it_has_room_for(said):
    holds, most = {}, collections.Counter()
    for _, order, day in promised(said):
        holds[order] = day
        for held, number in collections.Counter(day for day in holds.values() if day).items():
            assert number <= ROOM[held], f"{number} of {ROOM[held]} on {held}"
            most[held] = max(most[held], number)
    assert most["2026-01-16"] == ROOM["2026-01-16"]  # and the room there is is used


def test_each_offer_says_how_much_of_its_day_is_taken(said):
    for decisions in said.values():
        for decision in decisions:
            if decision["action"] == "offer":
                limit, = decision["limits"]
                assert limit["max"] == ROOM[decision["params"]["date"]] and limit["used"] <= limit["max"]
