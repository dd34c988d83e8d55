"""The worker against a fake of both APIs that other people wrote: answers, usage, errors and headers as they serve them."""

import json
import os
import time

import pytest

from support import deciding

APIS = ("openai", "anthropic")
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
CASE = deciding.decided_by_a_model(next(path for path in deciding.policies() if path.stem == "dunning"))
PLAIN = CASE.body["model"][0]
PRICES = {"price_input": 3_000_000, "price_output": 15_000_000, "price_cached_input": 300_000}


def usage(prompt, completion):
    return {"prompt_tokens": prompt, "completion_tokens": completion, "input_tokens": prompt, "output_tokens": completion}


def text(answer=PLAIN, prompt=1234, completion=56, **more):
    """An answer as content; of both APIs, none of which is held to a schema here."""
    return {"content": answer if isinstance(answer, str) else json.dumps(answer), "usage": usage(prompt, completion), **more}


def tool_call(name="proposal", arguments=PLAIN, prompt=1234, completion=56, **more):
    return {"toolCalls": [{"name": name, "arguments": json.dumps(arguments)}], "usage": usage(prompt, completion), **more}


def error(status, kind, code=None, **more):
    return {"error": {"message": f"scripted {kind}", "type": kind, **({"code": code} if code else {})}, "status": status, **more}


def fixtures(*answers):
    """Answers in turn; the last one again and again."""
    last = len(answers) - 1
    return [{"match": {"model": "m", **({} if n == last else {"sequenceIndex": n})}, "response": answer}
            for n, answer in enumerate(answers)]


@pytest.fixture
def ask(aimock, test_dir, binary):
    """ask(api, answer, answer...): the decision, and what the fake was asked for it."""
    def call(api, *answers, mode="none", keys=None, env=None, **entry):
        fake = aimock(fixtures(*answers), keys=keys)
        peer = {"provider": api, "url": fake.url, "model": "m", "schema": mode, **entry}
        result = deciding.decide(test_dir, CASE, {"peer": peer}, env={**os.environ, **(env or {})})
        return result.decision, fake.asked(PATHS[api])

    return call


def decided(decision):
    return (decision["status"], decision["decided_by"], decision["action"]) == ("decided", "model", PLAIN["action"])


def fell_back(decision, reason):
    return (decision["status"], decision["decided_by"], decision["degraded_reason"]) == ("fallback", "fallback", reason)


# --- answers and their price ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode, answer", [("none", text()), ("object", text()), ("loose", text()), ("tool", tool_call()), ("strict", None)],
                         ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("api", APIS)
def test_an_answer_decides_and_its_usage_is_the_fakes(ask, api, mode, answer):
    if answer is None:
        answer = text() if api == "openai" else tool_call()
    elif api == "anthropic" and mode == "loose":
        answer = tool_call()
    decision, asked = ask(api, answer, mode=mode, **PRICES)
    assert decided(decision)
    assert len(asked) == decision["usage"]["model_calls"] == 1
    assert (decision["usage"]["input_tokens"], decision["usage"]["output_tokens"]) == (1234, 56)
    assert decision["cost_microusd"] == 1234 * 3 + 56 * 15
    assert (decision["usage"]["provider"], decision["usage"]["model"]) == (api, "peer")


@pytest.mark.parametrize("api", APIS)
def test_the_usage_of_a_repair_is_the_sum(ask, api):
    refused = {**PLAIN, "action": "no_such_action"}
    decision, asked = ask(api, text(refused, 1000, 30), text(PLAIN, 1100, 40), **PRICES)
    assert decided(decision) and decision["usage"]["repairs"] == 1
    assert len(asked) == 2
    assert (decision["usage"]["input_tokens"], decision["usage"]["output_tokens"]) == (2100, 70)
    assert decision["cost_microusd"] == 2100 * 3 + 70 * 15


@pytest.mark.parametrize("api", APIS)
def test_reasoning_before_the_answer_is_no_part_of_it(ask, api):
    decision, _ = ask(api, text(reasoning='I could answer {"action": "stop", "params": {}}, but no.'))
    assert decided(decision)


def test_text_around_a_tool_call_is_no_part_of_it(ask):
    decision, _ = ask("anthropic", {"content": "Let me propose:", **tool_call()}, mode="tool")
    assert decided(decision)


@pytest.mark.parametrize("api", APIS)
def test_an_answer_cut_by_its_length_is_no_decision(ask, api):
    decision, asked = ask(api, text(finishReason="length"))
    assert decision["status"] == "fallback"
    assert len(asked) <= 3


@pytest.mark.parametrize("api", APIS)
def test_a_tool_that_nobody_declared_decides_nothing(ask, api):
    decision, asked = ask(api, tool_call("transfer_money", {"to": "me"}))
    assert decision["status"] == "fallback"
    assert len(asked) <= 3


# --- errors -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("api", APIS)
def test_a_429_is_waited_out_as_its_header_says(ask, api):
    began = time.monotonic()
    decision, asked = ask(api, error(429, "rate_limit_error", "rate_limit_exceeded", retryAfter=2), text())
    assert decided(decision)
    first, second = (entry["timestamp"] for entry in asked)
    assert 1900 <= second - first < 5000
    assert time.monotonic() - began < 9


@pytest.mark.parametrize("status, kind", [(500, "api_error"), (503, "server_error"), (529, "overloaded_error")])
@pytest.mark.parametrize("api", APIS)
def test_what_may_pass_is_asked_again(ask, api, status, kind):
    decision, asked = ask(api, error(status, kind), text())
    assert decided(decision)
    assert [entry["response"]["status"] for entry in asked] == [status, 200]
    assert decision["usage"]["input_tokens"] == 1234


@pytest.mark.parametrize("api", APIS)
def test_overloaded_for_good_is_the_fallback_in_time(ask, api):
    decision, asked = ask(api, error(529, "overloaded_error"))
    assert fell_back(decision, "model_unavailable") or fell_back(decision, "deadline")
    assert len(asked) > 1
    assert decision["usage"]["total_ms"] < 11_000
    assert (decision["usage"]["input_tokens"], decision["cost_microusd"]) == (0, 0)


@pytest.mark.parametrize("api, status, kind, code", [
    ("openai", 429, "insufficient_quota", "insufficient_quota"),
    ("openai", 400, "invalid_request_error", "context_length_exceeded"),
    ("openai", 404, "invalid_request_error", "model_not_found"),
    ("openai", 403, "permission_error", None),
    ("anthropic", 402, "billing_error", None),
    ("anthropic", 400, "invalid_request_error", None),
    ("anthropic", 413, "request_too_large", None),
    ("anthropic", 403, "permission_error", None),
])
def test_what_will_not_pass_is_asked_once(ask, api, status, kind, code):
    decision, asked = ask(api, error(status, kind, code), text())
    assert fell_back(decision, "quota" if kind in ("insufficient_quota", "billing_error") else "model_unavailable")
    assert len(asked) == 1


@pytest.mark.parametrize("api", APIS)
def test_the_key_is_sent_where_the_fake_looks_for_it(ask, api):
    secret = "sk-test-1234567890"
    decision, asked = ask(api, text(), keys=secret, key_env="PEER_KEY", env={"PEER_KEY": secret})
    assert decided(decision)
    assert secret not in json.dumps(decision)


@pytest.mark.parametrize("api", APIS)
def test_a_wrong_key_is_the_fallback(ask, api):
    decision, _ = ask(api, text(), keys="sk-test-1234567890", key_env="PEER_KEY", env={"PEER_KEY": "sk-wrong"})
    assert fell_back(decision, "model_unavailable")
    assert decision["usage"]["total_ms"] < 3000, "it is not asked again"


@pytest.mark.parametrize("fault", ("malformedRate", "disconnectRate"))
@pytest.mark.parametrize("api", APIS)
def test_a_broken_answer_is_no_decision(aimock, test_dir, binary, api, fault):
    broken, = fixtures(text())
    fake = aimock([{**broken, "chaos": {fault: 1.0}}])
    result = deciding.decide(test_dir, CASE, {"peer": {"provider": api, "url": fake.url, "model": "m", "schema": "none"}})
    assert result.decision["status"] == "fallback"
    assert result.decision["usage"]["total_ms"] < 11_000


@pytest.mark.parametrize("api", APIS)
def test_the_next_model_is_asked_when_one_fails(aimock, test_dir, binary, api):
    fake = aimock([{"match": {"model": "first"}, "response": error(400, "invalid_request_error")},
                   {"match": {"model": "second"}, "response": text()}])
    entry = {"provider": api, "url": fake.url, "schema": "none"}
    result = deciding.decide(test_dir, CASE, {"a": {**entry, "model": "first"}, "b": {**entry, "model": "second"}})
    assert decided(result.decision) and result.decision["usage"]["model"] == "b"
    assert [entry["body"]["model"] for entry in fake.asked(PATHS[api])] == ["first", "second"]
