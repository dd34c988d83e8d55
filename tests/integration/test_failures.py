"""Everything that a model and the way to it can do wrong, against `verdict run`: one row a failure.

Each row has a policy and a key of its own, and a model entry unless its answers are whole and only say nonsense (PROPOSALS), so that no
breaker, queue or order of one row touches another; all rows are decided at once by one worker. A row states what is decided, how many requests that cost as the server counted them, and how long it
may take from the fetch; all three are asserted.
"""

import contextlib
import dataclasses
import time

import pytest

from support import broken_model as broken
from support import model
from support.broken_model import body, dripping, half_then, http_date, huge, once, says, silent, status
from support.processes import wait_until
from support.producer import unique_id
from support.shop import Shop

DEADLINE_MS = 6000
TIMEOUT_MS = 500  # of a model whose time-out a row is about
EARN_RETRIES = 250  # good answers; each earns a fifth of a retry: no row may want for one

AT_ONCE_S = 2.5  # nothing to wait for; the machine may be busy
TRIED_S = 3.5    # three tries: at most 250 and 500 ms between them
UNAVAILABLE, UNREADABLE, REFUSED_BY_RULES = "model_unavailable", "answer_unreadable", "repairs_spent"


@dataclasses.dataclass
class Row:
    name: str
    behave: object
    expect: str  # degraded_reason of a fallback, or "decided"
    calls: int
    within: float = AT_ONCE_S
    least: float = 0.0
    entry: dict = dataclasses.field(default_factory=dict)
    budget: dict = dataclasses.field(default_factory=dict)
    tools: dict = dataclasses.field(default_factory=dict)
    tool_calls: int = 0


def proposal(action="ship", **params):
    return lambda request: model.answer_to(request, action, {"boxes": 1, **params} if action == "ship" else params)


def changed(change):
    """A good proposal, then changed in place."""
    def make(request):
        answer = model.answer_to(request, "ship", {"boxes": 1})
        change(answer)
        return answer
    return make


def as_text(find, replace):
    """A good proposal's text with something in it that json.dumps() would not write."""
    def make(request):
        text = model.json.dumps(model.answer_to(request, "ship", {"boxes": 1}))
        assert find in text
        return text.replace(find, replace, 1)
    return make


def good_bytes_with(find, replace):
    def behave(x):
        data = model.json.dumps(model.obedient(x.request)).encode()
        assert find in data
        x.send(data.replace(find, replace, 1))
    return behave


def tool_call(*names):
    calls = [{"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": "{}"}} for i, name in enumerate(names)]
    return says(finish_reason="tool_calls", tool_calls=calls)


LOOK = {"look": {"redis": "GET stock:{event.data.customer}", "max_calls": 100, "why": "What is in stock."}}


TIMES_OUT = {"entry": {"timeout_ms": TIMEOUT_MS}, "calls": 3, "least": 3 * TIMEOUT_MS / 1000 - 0.1, "within": 5.0}

ROWS = [
    Row("nothing-wrong", lambda x: x.good(), "decided", 1),

    # --- status ---------------------------------------------------------------------------------------------------
    *(Row(f"status-{code}", status(code), UNAVAILABLE, 1) for code in (400, 401, 403, 404, 413, 422)),
    *(Row(f"status-{code}", status(code), UNAVAILABLE, 3, TRIED_S) for code in (408, 409, 429, 500, 502, 503, 529)),
    Row("status-503-once", once(status(503)), "decided", 2),
    Row("redirect", status(307, location="/nothing-wrong/v1/chat/completions"), UNAVAILABLE, 1),

    # --- retry headers --------------------------------------------------------------------------------------------
    Row("limited-retry-after-ms", status(429, retry_after_ms="400"), UNAVAILABLE, 3, TRIED_S, least=0.8),
    Row("limited-retry-after-ms-first", once(status(429, retry_after_ms="300", retry_after="3600")), "decided", 2, least=0.3),
    Row("limited-retry-after-seconds", once(status(429, retry_after="1")), "decided", 2, TRIED_S, least=1.0),
    Row("limited-retry-after-date", once(lambda x: x.error(429, retry_after=http_date(2))), "decided", 2, 4.5, least=0.9),
    Row("limited-retry-after-date-gone", status(429, retry_after="Sun, 06 Nov 1994 08:49:37 GMT"), UNAVAILABLE, 3),
    Row("limited-retry-after-too-long", status(429, retry_after="3600"), UNAVAILABLE, 1),
    Row("limited-retry-after-nonsense", status(429, retry_after="soon"), UNAVAILABLE, 3, TRIED_S),
    Row("limited-should-not-retry", status(429, x_should_retry="false"), UNAVAILABLE, 1),
    Row("bad-request-should-retry", status(400, x_should_retry="true"), UNAVAILABLE, 3, TRIED_S),
    Row("quota-exhausted", status(429, code="insufficient_quota"), "quota", 1),

    # --- time and bytes -------------------------------------------------------------------------------------------
    Row("timeout-before-the-answer", silent, UNAVAILABLE, **TIMES_OUT),
    Row("timeout-during-the-body", half_then(silent), UNAVAILABLE, **TIMES_OUT),
    Row("one-byte-a-second", dripping, UNAVAILABLE, **TIMES_OUT),
    Row("past-the-deadline", silent, "deadline", 1, 2.5, 0.95, budget={"deadline_ms": 1000}),
    Row("reset-before-the-answer", lambda x: x.reset(), UNAVAILABLE, 3, TRIED_S),
    Row("reset-in-the-middle", half_then(lambda x: x.reset()), UNAVAILABLE, 3, TRIED_S),
    Row("length-too-long", half_then(lambda x: None), UNAVAILABLE, 3, TRIED_S),
    Row("length-too-short", lambda x: x.send(model.obedient(x.request), length=40), UNAVAILABLE, 1),
    Row("bad-certificate", None, UNAVAILABLE, 0),
    Row("body-of-50-mb", huge(50), UNAVAILABLE, 1),

    # --- not the API's answer -------------------------------------------------------------------------------------
    Row("empty-body", body(b""), UNAVAILABLE, 1),
    Row("not-json", body(b"<html>Bad gateway</html>"), UNAVAILABLE, 1),
    Row("bad-utf8", good_bytes_with(b"As the facts", b"As \xff\xfe the facts"), UNAVAILABLE, 1),
    Row("number-1e999-for-choices", body(b'{"choices": 1e999}'), UNAVAILABLE, 1),
    Row("number-1e999-of-tokens", good_bytes_with(b'"prompt_tokens": 100', b'"prompt_tokens": 1e999'), "decided", 1),
    Row("deeply-nested", body(b'{"choices":' + b"[" * 100000), UNAVAILABLE, 1),
    Row("empty-choices", body({"choices": []}), UNAVAILABLE, 1),
    Row("empty-answer", says(""), UNAVAILABLE, 1),
    Row("cut-by-length", says('{"action": "sh', finish_reason="length"), "answer_cut", 1),
    Row("whole-but-cut-by-length", says(proposal(boxes=1), finish_reason="length"), "answer_cut", 1),
    Row("refusal", says(None, refusal="I will not."), "answer_refused", 1),
    Row("content-filter", says("", finish_reason="content_filter"), "answer_refused", 1),
    Row("unknown-finish-reason", says(proposal(boxes=1), finish_reason="bored"), UNAVAILABLE, 1),

]
# Not a proposal, or not one that may be.
PROPOSALS = [
    Row("prose", says("I would ship it."), UNREADABLE, 2),
    Row("prose-once", once(says("I would ship it.")), "decided", 2),
    Row("unknown-action", says(changed(lambda a: a.update(action="refund"))), REFUSED_BY_RULES, 2),
    Row("wrong-type", says(proposal(boxes="many")), REFUSED_BY_RULES, 2),
    Row("out-of-range", says(proposal(boxes=6)), REFUSED_BY_RULES, 2),
    Row("out-of-range-once", once(says(proposal(boxes=6))), "decided", 2),
    Row("extra-param", says(proposal(discount=100)), REFUSED_BY_RULES, 2),
    Row("extra-key", says(changed(lambda a: a.update(approved_by="ceo"))), UNREADABLE, 2),
    Row("number-1e999-as-a-param", says(as_text('"boxes": 1', '"boxes": 1e999')), REFUSED_BY_RULES, 2),
    Row("number-1e999-of-confidence", says(as_text('"confidence": 0.9', '"confidence": 1e999')), UNREADABLE, 2),
    Row("number-nan-as-a-param", says(as_text('"boxes": 1', '"boxes": NaN')), UNREADABLE, 2),
    Row("undeclared-tool", tool_call("read_everything"), UNREADABLE, 2),
    Row("undeclared-tool-without-end", tool_call("read_everything"), "budget_model_calls", 5,
        budget={"max_model_calls": 5, "max_repairs": 20}),
    Row("tool-without-end", tool_call("look"), "budget_model_calls", 6, tools=LOOK, tool_calls=6 - 1,
        budget={"max_model_calls": 6, "max_tool_calls": 20}),
    Row("tool-without-end-past-its-budget", tool_call("look"), "budget_model_calls", 6, tools=LOOK, tool_calls=3,
        budget={"max_model_calls": 6, "max_tool_calls": 3}),
    Row("a-hundred-tools-at-once", tool_call(*["look"] * 100), UNAVAILABLE, 1, tools=LOOK, budget={"max_tool_calls": 3}),
    Row("tool-once", once(tool_call("look")), "decided", 2, tools=LOOK, tool_calls=1, budget={"max_tool_calls": 3}),
]
OWN_ENTRY, ROWS = {row.name for row in ROWS}, ROWS + PROPOSALS
NAMES = [row.name for row in ROWS]


def entry_of(row):
    return row.name if row.name in OWN_ENTRY else "proposals"


def row_of(entry, request):
    """The proposals' entry serves all of them: whose event is it about?"""
    if entry != "proposals":
        return entry
    text = model.asked_text(request)
    name, = (row.name for row in PROPOSALS if f'"{row.name}"' in text)
    return name


@contextlib.contextmanager
def served(directory):
    behaviours = {row.name: row.behave for row in ROWS if row.behave is not None}
    with broken.BrokenModel(behaviours, rename=row_of) as plain, \
            broken.BrokenModel({}, certificate=broken.self_signed(directory)) as untrusted:
        yield plain, untrusted


def write_policies(shop):
    for i, row in enumerate(ROWS):
        shop.write(f"row{i:02}.cfg", policy_id=f"orders.{row.name}",
                   input={"when": f"event.data.customer == '{row.name}'" if i > 0 else "event.data.customer.startsWith('nothing-wrong')"},
                   actions={"ship": {"params": {"boxes": {"type": "integer", "min": 1, "max": 5}}}},
                   reasoning={"models": [entry_of(row)]}, **({"tools": row.tools} if row.tools else {}),
                   budget={"deadline_ms": DEADLINE_MS, "max_model_calls": 3, "max_repairs": 1, **row.budget})


@pytest.fixture(scope="module")
def decided(broker, binary, redis_shared, run_dir):
    """{name: (decision, requests counted)} of all rows."""
    directory = run_dir / "failures"
    directory.mkdir()
    created = []

    def topics(name):
        broker.create_topics([f"{unique}.{name}"], 1)
        created.append(f"{unique}.{name}")
        return created[-1]

    unique = unique_id("failures")
    shop = Shop(broker, topics, directory, redis_shared)
    write_policies(shop)
    with served(directory) as (plain, untrusted):
        models = {entry_of(row): {"url": (plain if row.behave else untrusted).url(entry_of(row)), "model": "broken", **row.entry}
                  for row in ROWS}
        with shop.worker(models=models) as (worker, _):
            shop.publish(*(f"nothing-wrong-{i}" for i in range(EARN_RETRIES)))
            worker.wait_metric("verdict_decisions_total", EARN_RETRIES)
            plain.calls.clear()
            shop.publish(*NAMES)
            wait_until(lambda: worker.metric("verdict_decisions_total") == EARN_RETRIES + len(ROWS), 30,
                       "every row is decided", worker.process)
            time.sleep(0.3)  # a request too many would come now
            decisions = {d["key"]: d for d in shop.read(count=EARN_RETRIES + len(ROWS))}
            yield {row.name: (decisions[row.name], plain.calls[row.name]) for row in ROWS}, untrusted
            assert worker.stop() == 0
    broker.delete_topics(created)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_each_failure_has_its_outcome_its_cost_and_its_time(decided, row):
    decision, calls = decided[0][row.name]
    if row.expect == "decided":
        assert (decision["status"], decision["decided_by"], decision["degraded_reason"]) == ("decided", "model", None)
    else:
        assert (decision["status"], decision["degraded_reason"], decision["action"]) == ("fallback", row.expect, "hold")
    assert calls == row.calls, "requests that the server counted"
    assert decision["usage"]["model_calls"] == row.calls, "the record does not say what was spent"
    assert decision["usage"]["tool_calls"] == row.tool_calls
    assert row.least * 1000 <= decision["usage"]["total_ms"] <= row.within * 1000


def test_a_certificate_that_nobody_signed_is_seen_once_and_told_nothing(decided):
    _, untrusted = decided
    assert untrusted.connections == 1 and not untrusted.calls
