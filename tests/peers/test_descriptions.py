"""What the worker sends to a provider is what the provider's own description of its API allows.

Each request goes, as it left the worker, through a server that the description makes (support/peers.py says where the
descriptions come from). The answers come from here, so that a conversation goes on: a proposal that is refused, then a repair.
"""

import copy
import json
import re

import pytest

from support import deciding, model, peers

MODES = ("strict", "loose", "object", "tool", "none")
POLICIES = deciding.policies()
KEY = "sk-peers-secret"


# --- answers of both APIs -------------------------------------------------------------------------------------------

def openai_answer(content=None, tool=None):
    if tool is None:
        return model.completion(content)
    calls = [{"id": "call_1", "type": "function", "function": {"name": tool, "arguments": json.dumps(content)}}]
    return model.completion(None, "tool_calls", calls)


def anthropic_answer(content=None, tool=None):
    text = content if isinstance(content, str) else json.dumps(content)
    block = {"type": "text", "text": text} if tool is None else {
        "type": "tool_use", "id": "toolu_1", "name": tool, "input": content}
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [block],
            "stop_reason": "end_turn" if tool is None else "tool_use", "stop_sequence": None,
            "usage": {"input_tokens": 100, "output_tokens": 20}}


ANSWERS = {"openai": openai_answer, "anthropic": anthropic_answer}


def asked_for(body):
    """(schema, name of the tool that carries the proposal); None where the request has none."""
    for tool in body.get("tools", []):
        function = tool.get("function", tool)
        if function["name"] == "proposal":
            return function.get("parameters", function.get("input_schema")), "proposal"
    form = body.get("response_format", {})
    return form.get("json_schema", {}).get("schema"), None


def script(api, *answers):
    """Answers in turn, in the form that each request asks for; the last one again and again. {"tool", "args"} calls a tool."""
    def answer(path, body, number):
        plain = answers[min(number, len(answers) - 1)]
        if "tool" in plain:
            return 200, {}, ANSWERS[api](plain["args"], plain["tool"])
        schema, tool = asked_for(body)
        actions = (schema or {}).get("properties", {}).get("action", {}).get("enum", [])
        if plain["action"] in actions:  # else the schema has a form for each action, which the plain answer fits
            plain = deciding.proposal(schema, plain)
        return 200, {}, ANSWERS[api](plain, tool)

    return answer


def refused_then(case):
    return {"action": "no_such_action", "params": {}, "confidence": 0.9, "rationale": "", "evidence": []}, case.body["model"][0]


def through_the_gate(server, test_dir, api, case, answers, event=None, redis=None, **entry):
    (test_dir / "key").write_text(KEY)
    with peers.Gate(server, script(api, *answers)) as gate:
        models = {"peer": {"provider": api, "url": gate.url, "model": "m", "key_file": str(test_dir / "key"), **entry}}
        result = deciding.decide(test_dir, case, models, event, redis=redis)
    wrong = [f"request {n}: {text}" for n, passed in enumerate(gate.passed) for text in passed.wrong]
    assert wrong == []
    return result, gate.passed


# --- requests -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("api", ("openai", "anthropic"))
def test_a_proposal_and_its_repair_are_as_described(steady, test_dir, binary, api, mode, policy):
    case = deciding.decided_by_a_model(policy)
    result, passed = through_the_gate(steady(api), test_dir, api, case, refused_then(case), schema=mode)
    assert result.decision["usage"]["repairs"] == 1
    if not case.body.keys() & {"memory", "state"}:  # `verdict decide` has none
        assert (result.decision["status"], result.decision["action"]) == ("decided", case.body["expect"]["action"])
    first, repair = passed
    assert len(repair.body["messages"]) == len(first.body["messages"]) + 2
    assert KEY not in json.dumps([first.body, repair.body, result.decision, result.audit]) + result.stderr


@pytest.mark.parametrize("entry", [{"max_tokens_param": "max_tokens"}, {"system_role": "developer"}, {"temperature": "omit"}],
                         ids=lambda entry: next(iter(entry)))
def test_every_way_to_ask_openai_is_as_described(steady, test_dir, binary, entry):
    case = deciding.decided_by_a_model(POLICIES[0])
    result, passed = through_the_gate(steady("openai"), test_dir, "openai", case, [case.body["model"][0]], **entry)
    assert result.decision["status"] == "decided"
    assert ("max_tokens" in passed[0].body) == ("max_tokens_param" in entry)
    assert ("temperature" in passed[0].body) == ("temperature" not in entry)


HOSTILE = '"\\\u0007\u202e\U0001f600\u00df</s>\u200b\U000e0041\n'


@pytest.mark.parametrize("api", ("openai", "anthropic"))
def test_a_long_hostile_text_is_cut_and_as_described(steady, test_dir, binary, api):
    """Quotes, emoji, control, bidi and tag characters, far beyond what fits one field."""
    policy, = [path for path in POLICIES if path.stem == "dispute"]
    case = deciding.decided_by_a_model(policy)
    event = copy.deepcopy(case.body["event"])
    event["data"]["object"]["evidence"]["uncategorized_text"] = HOSTILE * 10000
    result, passed = through_the_gate(steady(api), test_dir, api, case, [case.body["model"][0]], event)
    assert result.decision["status"] == "decided"
    assert result.audit["reasoning"]["cuts"], "what did not fit was not said"
    assert len(json.dumps(passed[0].body)) < 100_000


@pytest.mark.parametrize("api", ("openai", "anthropic"))
def test_a_prompt_of_many_facts_is_as_described(steady, test_dir, binary, api):
    """An order of 300 lines and 42 warehouses that could ship it: tens of kilobytes that all may be shown."""
    policy, = [path for path in POLICIES if path.stem == "fulfilment"]
    case = copy.deepcopy(deciding.decided_by_a_model(policy))
    event, warehouses = case.body["event"], case.body["context"]["warehouses"]
    event["data"]["line_items"] *= 150
    warehouses.update({f"w{n}": warehouses["east"] for n in range(40)})
    result, passed = through_the_gate(steady(api), test_dir, api, case, [case.body["model"][0]], event)
    assert result.decision["status"] == "decided"
    assert len(json.dumps(passed[0].body)) > 15_000


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("api", ("openai", "anthropic"))
def test_looking_things_up_is_as_described(steady, test_dir, binary, redis, api, mode):
    """A tool called twice, once wrongly, then a refused proposal, then a good one: every kind of message there is."""
    redis.client().hset(deciding.NOTES, mapping={"2026-01-02": HOSTILE * 3, "2026-01-03": "Paid late once."})
    policy, = [path for path in POLICIES if path.stem == "dunning"]
    plain = deciding.decided_by_a_model(policy)
    case = deciding.Case(deciding.with_a_tool(test_dir, policy), plain.body)
    refused, good = refused_then(plain)
    answers = [{"tool": "notes", "args": {"about": "nobody"}}, {"tool": "notes", "args": {"about": "customer"}}, refused, good]
    result, passed = through_the_gate(steady(api), test_dir, api, case, answers, redis=redis.address, schema=mode)
    assert (result.decision["status"], result.decision["action"]) == ("decided", good["action"])
    assert len(passed) == 4
    names = {tool.get("function", tool)["name"] for tool in passed[0].body["tools"]}
    assert "notes" in names
    assert "Paid late once." in json.dumps(passed[2].body["messages"]), "the result was not told"


def test_the_next_version_of_anthropics_api_takes_the_body_without_temperature(steady, test_dir, binary):
    """The worker speaks 2023-06-01. Of 2026-10-21 only the body is held against the description, not its headers."""
    server = steady("anthropic-next")
    case = deciding.decided_by_a_model(POLICIES[0])

    class Later:
        def judge(self, path, headers, raw):
            return server.judge(path, {**headers, "anthropic-version": "2026-10-21", "authorization": "Bearer k"}, raw)

    result, _ = through_the_gate(Later(), test_dir, "anthropic", case, refused_then(case))
    assert result.decision["status"] == "decided"


# --- the schemas within, which no description constrains --------------------------------------------------------------

# OpenAI's structured outputs: what a strict schema may say. Anthropic's take no bounds.
STRICT_WORDS = {"type", "properties", "required", "additionalProperties", "anyOf", "enum", "const", "items", "description", "$ref",
                "$defs", "pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems",
                "maxItems"}
NO_BOUNDS = STRICT_WORDS - {"pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxItems",
                            "minItems"}


def strict_faults(schema, words, depth=1, path="#"):
    """What of the rules for strict schemas is broken."""
    faults = [f"{path}: {word}" for word in schema.keys() - words]
    if depth > 10:
        faults.append(f"{path}: deeper than 10")
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            faults.append(f"{path}: additionalProperties is not false")
        if set(schema.get("required", [])) != set(schema.get("properties", {})):
            faults.append(f"{path}: not every property is required")
    inner = {**{f"{path}/{name}": part for name, part in schema.get("properties", {}).items()},
             **{f"{path}/{n}": part for n, part in enumerate(schema.get("anyOf", []))}}
    if isinstance(schema.get("items"), dict):
        inner[f"{path}/items"] = schema["items"]
    for where, part in inner.items():
        faults += strict_faults(part, words, depth + ("properties" in schema), where)
    return faults


@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("api, words", [("openai", STRICT_WORDS), ("anthropic", NO_BOUNDS)], ids=("openai", "anthropic"))
def test_strict_schemas_keep_the_rules_for_strict_schemas(steady, test_dir, binary, api, words, policy):
    case = deciding.decided_by_a_model(policy)
    _, passed = through_the_gate(steady(api), test_dir, api, case, [case.body["model"][0]], schema="strict")
    schema, tool = asked_for(passed[0].body)
    assert schema["type"] == "object" and "anyOf" not in schema
    assert strict_faults(schema, words) == []
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool or passed[0].body["response_format"]["json_schema"]["name"])


# --- that the judges judge --------------------------------------------------------------------------------------------

SPOILED = [
    ("no messages", lambda body: body.pop("messages")),
    ("no model", lambda body: body.pop("model")),
    ("a role that is none", lambda body: body["messages"][-1].update(role="robot")),
    ("an unknown part", lambda body: body["messages"][-1].update(content=[{"type": "hologram"}])),
    ("a word for a number", lambda body: body.update(temperature="hot")),
    ("an unknown member", lambda body: body.update(surprise=1)),
    ("a choice that is none", lambda body: body.update(tool_choice={"type": "sometimes"})),
    ("a tool without a name", lambda body: body.update(tools=[{"type": "function", "function": {}}])),
]


@pytest.mark.parametrize("api", ("openai", "anthropic"))
def test_a_spoiled_request_is_refused_and_the_worker_gives_up_on_it(steady, test_dir, binary, api):
    """Otherwise the tests above would prove nothing."""
    server = steady(api)
    case = deciding.decided_by_a_model(POLICIES[0])
    _, passed = through_the_gate(server, test_dir, api, case, [case.body["model"][0]])
    good, headers = passed[0].body, passed[0].headers
    assert server.judge(passed[0].path, headers, json.dumps(good)) == []
    for what, spoil in SPOILED:
        body = copy.deepcopy(good)
        spoil(body)
        assert server.judge(passed[0].path, headers, json.dumps(body)), f"{what} was let pass"
    for name in ("authorization", "x-api-key", "anthropic-version"):
        if name in headers:
            fewer = {other: value for other, value in headers.items() if other != name}
            assert server.judge(passed[0].path, fewer, json.dumps(good)), f"a request without {name} was let pass"


@pytest.mark.parametrize("api", ("openai", "anthropic"))
def test_an_answer_made_up_from_the_description_is_understood_and_decides_nothing(steady, test_dir, binary, api):
    """The server's own answer has every required member and senseless values: no crash, one call or a repair, the fallback."""
    server = steady(api)
    case = deciding.decided_by_a_model(POLICIES[0])
    (test_dir / "key").write_text(KEY)
    result = deciding.decide(test_dir, case, {"peer": {"provider": api, "url": server.url, "model": "m",
                                                       "key_file": str(test_dir / "key")}})
    assert result.decision["status"] == "fallback"
    assert 1 <= result.decision["usage"]["model_calls"] <= 3
