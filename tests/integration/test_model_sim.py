"""`verdict model-sim` as users run it: both APIs, behaviour from the command line and over POST /control, counters."""

import concurrent.futures
import json
import socket
import time
import urllib.error
import urllib.request

import pytest

from support.model import ModelSim, asked_schema

SCHEMA = {"type": "object", "additionalProperties": False, "required": ["action", "params", "evidence"],
          "properties": {"action": {"enum": ["refund", "deny"]},
                         "params": {"type": "object", "properties": {"amount": {"type": "integer", "minimum": 1, "maximum": 9}}},
                         "evidence": {"type": "array", "items": {"type": "string"}}}}


def chat(text="event_id: e-1 /event/data/amount: 7", **more):
    return {"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": text}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}, **more}


def call(sim, path, body=None, timeout=10):
    request = urllib.request.Request(f"http://127.0.0.1:{sim.port}{path}", None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), dict(error.headers)


@pytest.fixture
def sim(tmp_path):
    running = ModelSim(tmp_path, "--count-by", "event_id: ", "--seed", "7").start()
    yield running
    running.stop()


def test_the_same_request_gets_the_same_valid_proposal(sim):
    first = json.loads(sim.ask(chat())["choices"][0]["message"]["content"])
    again = json.loads(sim.ask(chat())["choices"][0]["message"]["content"])
    assert first == again
    assert asked_schema(chat()) == SCHEMA
    assert first["action"] in ("refund", "deny") and 1 <= first["params"]["amount"] <= 9
    assert first["evidence"] == ["/event/data/amount"]
    stats = call(sim, "/stats")[1]
    assert (stats["requests"], stats["repeated"], stats["markers"]) == (2, 1, {"e-1": 2})


def test_anthropic_gets_a_tool_call(sim):
    body = {"model": "m", "max_tokens": 9, "system": "s", "messages": [{"role": "user", "content": "x"}],
            "tools": [{"name": "propose", "input_schema": SCHEMA}], "tool_choice": {"type": "tool", "name": "propose"}}
    status, answer, _ = call(sim, "/v1/messages", body)
    assert status == 200 and answer["stop_reason"] == "tool_use"
    assert answer["content"][0]["name"] == "propose" and answer["content"][0]["input"]["action"] in ("refund", "deny")


def test_control_changes_the_next_answer(sim):
    assert call(sim, "/control", {"errors": {"429": 1}, "retry_after": 3})[0] == 200
    status, answer, headers = call(sim, "/chat/completions", chat())
    assert status == 429 and headers["retry-after"] == "3" and answer["error"]["type"] == "rate_limit_error"
    assert call(sim, "/control", {"errors": {}, "rules": [{"match": "e-2", "answers": ["one", {"action": "deny"}]}]})[0] == 200
    said = [sim.ask(chat("event_id: e-2"))["choices"][0]["message"]["content"] for _ in range(3)]
    assert said == ["one", '{"action":"deny"}', '{"action":"deny"}']
    assert json.loads(sim.ask(chat("event_id: e-3"))["choices"][0]["message"]["content"])["action"]


@pytest.mark.parametrize("change", [[], {"latency": "soon"}, {"errors": {"200": 1}}, {"errors": {"500": 0.9, "429": 0.2}},
                                    {"rules": [{}]}, {"obey": 1}, {"unknown": 1}])
def test_a_wrong_behaviour_is_refused_and_changes_nothing(sim, change):
    status, answer, _ = call(sim, "/control", change)
    assert status == 400 and answer["error"]
    assert call(sim, "/chat/completions", chat())[0] == 200


def test_resets_and_cut_answers_are_seen_by_the_client(sim):
    call(sim, "/control", {"rules": [{"answers": [{"reset": True}, {"truncate": True}]}]})
    with pytest.raises(OSError):
        call(sim, "/chat/completions", chat())
    with pytest.raises(Exception, match="IncompleteRead"):
        call(sim, "/chat/completions", chat())


def test_slow_requests_wait_together(sim):
    call(sim, "/control", {"latency": 1000})
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        results = list(pool.map(lambda i: call(sim, "/chat/completions", chat(f"event_id: p-{i}"), 20)[0], range(100)))
    assert results == [200] * 100
    assert 1 <= time.monotonic() - start < 5
    assert call(sim, "/stats")[1]["most_waiting"] > 50


def test_it_stops_at_once_with_requests_waiting(sim):
    call(sim, "/control", {"rules": [{"answers": [{"hang": True}]}]})
    body = json.dumps(chat()).encode()
    with socket.create_connection(("127.0.0.1", sim.port)) as waiting:
        waiting.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.3)
        start = time.monotonic()
        sim.stop()
        assert time.monotonic() - start < 3
