"""The Common Expression Language against its public suite: 100 %, or the exception is listed with its reason."""

import json
import math
import subprocess

import pytest

from conformance import suite

# name: reason
EXCEPTIONS = {}


def same(a, b):
    """Equal values of the suite's form: same type, doubles by value and NaN like NaN, maps without order."""
    ((kind, x),) = a.items()
    ((other, y),) = b.items()
    if kind != other:
        return False
    if kind == "doubleValue":
        x, y = float(x), float(y)
        return x == y or (math.isnan(x) and math.isnan(y))
    if kind == "listValue":
        x, y = x.get("values", []), y.get("values", [])
        return len(x) == len(y) and all(same(p, q) for p, q in zip(x, y))
    if kind == "mapValue":
        x, y = x.get("entries", []), list(y.get("entries", []))
        for entry in x:
            found = [e for e in y if same(e["key"], entry["key"]) and same(e["value"], entry["value"])]
            if not found:
                return False
            y.remove(found[0])
        return not y
    return x == y


def ask(binary, questions):
    return suite.batch(binary, ["eval", "--batch"], questions)


def test_every_expression_of_the_suite_has_the_right_value_or_fails(binary):
    cases = suite.rows("cel.jsonl")
    questions = [{key: case[key] for key in ("expr", "bindings", "container") if key in case} for case in cases]

    def passes(case, answer):
        if "error" in case["expect"]:
            return set(answer) == {"error"} and answer["error"] != ""
        return set(answer) == {"value"} and same(answer["value"], case["expect"]["value"])

    suite.judge(cases, ask(binary, questions), passes, EXCEPTIONS)


@pytest.mark.parametrize(
    "value",
    [
        {"int64Value": "-9223372036854775808"},
        {"uint64Value": "18446744073709551615"},
        {"doubleValue": 0.1},
        {"doubleValue": "NaN"},
        {"doubleValue": "-Infinity"},
        {"boolValue": True},
        {"nullValue": None},
        {"stringValue": 'q"\u0000\u00e9\U0001f600'},
        {"bytesValue": "AP8="},
        {"typeValue": "google.protobuf.Duration"},
        {"listValue": {"values": [{"int64Value": "1"}, {"listValue": {"values": []}}]}},
        {"mapValue": {"entries": [{"key": {"boolValue": True}, "value": {"uint64Value": "2"}}]}},
        {"objectValue": {"@type": "type.googleapis.com/google.protobuf.Timestamp", "value": "2009-02-13T23:31:30.5Z"}},
        {"objectValue": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "-1.5s"}},
    ],
    ids=lambda value: next(iter(value)),
)
def test_values_of_every_type_go_in_and_come_out(binary, value):
    (answer,) = ask(binary, [{"expr": "x", "bindings": {"x": value}}])
    assert same(answer["value"], value)


def test_bad_lines_get_an_error_and_do_not_disturb_the_others(binary):
    bad = [
        b"",
        b"nonsense",
        b"[1,2]",
        b"{}",
        b'{"expr":1}',
        b'{"expr":"1","bindings":[]}',
        b'{"expr":"1","container":7}',
        b'{"expr":"x","bindings":{"x":{}}}',
        b'{"expr":"x","bindings":{"x":{"int64Value":"9223372036854775808"}}}',
        b'{"expr":"x","bindings":{"x":{"noValue":1}}}',
        b'{"expr":"x","bindings":{"x":{"bytesValue":"*"}}}',
        b'{"expr":"1 +"}',
        b'{"expr":"\xff"}',
        b'{"expr":"' + b"(" * 10000 + b'"}',
        b'{"expr":"' + b"[" * 10000 + b'"}',
        b'{"expr":"' + b"-" * 10000 + b'x"}',
        b'{"expr":"' + b"a." * 5000 + b'a"}',
        b'{"expr":"' + b"1+" * 5000 + b'1"}',
        b'{"expr":"' + b"true?true:" * 1000 + b'true"}',
        b"x" * 300000,
    ]
    text = b"\n".join(part for line in bad for part in (line, b'{"expr":"1"}'))
    done = subprocess.run([binary, "eval", "--batch"], input=text, capture_output=True, timeout=60, check=False)
    answers = [json.loads(answer) for answer in done.stdout.splitlines()]
    assert done.returncode == 0
    assert len(answers) == 2 * len(bad)
    assert all(set(answer) == {"error"} and answer["error"] for answer in answers[0::2])
    assert all(answer == {"value": {"int64Value": "1"}} for answer in answers[1::2])


def bind(value):
    """A Python value in the suite's form."""
    if isinstance(value, list):
        return {"listValue": {"values": [bind(item) for item in value]}}
    return {"stringValue": value} if isinstance(value, str) else {"int64Value": str(value)}


@pytest.mark.parametrize(
    "expr, bindings",
    [
        ("l.all(a, l.all(b, l.all(c, l.all(d, a + b + c + d >= 0))))", {"l": list(range(2000))}),
        ("l.map(a, l.map(b, l.map(c, [a, b, c]))).size()", {"l": list(range(2000))}),
        ("l.filter(a, a in l && a in l).sort_by(a, -a)", {"l": list(range(5000))}),
        ("l.transformMapEntry(i, v, {string(v): i}).size()", {"l": list(range(20000))}),
        ("s.matches('^(a+)+$')", {"s": "a" * 40 + "!"}),
        ("s.matches('(a|aa|aaa)*[xyz]')", {"s": "a" * 5000}),
        ("s.matches('.*.*.*.*[xyz]')", {"s": "a" * 5000}),
        ("l.all(a, s.matches('a*a*a*[xyz]'))", {"s": "a" * 300, "l": list(range(1000))}),
        ("l.map(a, s + s + s + s).join('').size()", {"s": "a" * 100000, "l": list(range(1000))}),
        ("s.replace('', s).replace('', s)", {"s": "a" * 10000}),
        ("l.exists(a, s.split('').size() == 1)", {"s": "a" * 100000, "l": list(range(1000))}),
        ("l.map(x, '%.1000f'.format([double(x) * 1e300])).size()", {"l": list(range(20000))}),
    ],
)
def test_hostile_expressions_end_within_the_budget(binary, expr, bindings):
    question = {"expr": expr, "bindings": {name: bind(value) for name, value in bindings.items()}}
    done = subprocess.run(
        [binary, "eval", "--batch"], input=json.dumps(question).encode(), capture_output=True, timeout=10, check=False
    )
    answer = json.loads(done.stdout)
    assert set(answer) == {"error"}


def person(binary, *arguments):
    done = subprocess.run([binary, "eval", *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_person_gets_json(binary, tmp_path):
    path = tmp_path / "order.json"
    path.write_text('{"total": 120, "id": 12345678901234567890}')
    assert person(binary, "order.total * n", "--var", f"order=@{path}", "--var", "n=2") == (0, "240\n", "")
    assert person(binary, "order.id", "--var", f"order=@{path}") == (0, '"12345678901234567890"\n', "")
    assert person(binary, "{'a': [1, 2.0, null]}.a")[1].split() == ["[", "1,", "2.0,", "null", "]"]
    assert person(binary, "--", "-1") == (0, "-1\n", "")


def test_a_person_sees_where_an_expression_is_wrong(binary):
    status, out, err = person(binary, "ordr.total > 100", "-v", 'order={"total":120}')
    assert (status, out) == (65, "")
    assert err == 'verdict eval: column 1: unknown name "ordr"; did you mean "order"?\n  ordr.total > 100\n  ^\n'
    status, out, err = person(binary, "'é'.size() +\n 1 / (n - 1)", "-v", "n=1")
    assert (status, out) == (65, "")
    assert err == "verdict eval: division by zero\n   1 / (n - 1)\n     ^\n"


def test_a_wrong_command_line_is_a_usage_error(binary):
    assert person(binary)[0] == 64
    assert person(binary, "1", "--var", "x")[0] == 64
    assert person(binary, "x", "--var", "x={")[0] == 64
    assert person(binary, "x", "--var", "x=@/nowhere")[0] == 64
    assert person(binary, "x", "--var", "x=1", "--var", "x=2")[0] == 64
    assert person(binary, "1", "--batch")[0] == 64
