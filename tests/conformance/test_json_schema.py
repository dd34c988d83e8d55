"""JSON Schema against its own test suite: 100 %, or the exception is listed with its reason."""

import pytest

from conformance import suite

# name: reason
EXCEPTIONS = {}


@pytest.mark.parametrize(
    "file, arguments",
    [("jsonschema-draft2020-12.jsonl", []), ("jsonschema-draft7.jsonl", ["--draft", "draft7"])],
    ids=["2020-12", "draft-07"],
)
def test_every_case_of_the_suite_has_the_right_verdict(binary, file, arguments):
    cases = suite.rows(file)
    questions = [{"schema": case["schema"], "instance": case["instance"]} for case in cases]
    answers = suite.batch(binary, ["validate", "--batch", *arguments], questions)
    suite.judge(cases, answers, lambda case, answer: answer.get("valid") is case["valid"], EXCEPTIONS)


def test_what_is_not_valid_says_where_and_why(binary):
    cases = [case for case in suite.rows("jsonschema-draft2020-12.jsonl") if not case["valid"]]
    questions = [{"schema": case["schema"], "instance": case["instance"]} for case in cases]
    for case, answer in zip(cases, suite.batch(binary, ["validate", "--batch"], questions)):
        assert answer["errors"], case["name"]
        for error in answer["errors"]:
            assert set(error) == {"instancePath", "schemaPath", "keyword", "reason"}, case["name"]
            assert error["instancePath"] == "" or error["instancePath"].startswith("/"), case["name"]
            assert error["schemaPath"] or case["schema"] is False, case["name"]
            assert error["keyword"] and error["reason"], case["name"]


def test_a_row_may_name_its_draft_and_ask_for_formats(binary):
    tuple_7 = {"items": [{"type": "string"}], "additionalItems": False}
    questions = [
        {"schema": tuple_7, "instance": ["a", 1], "draft": "draft7"},
        {"schema": {"format": "date"}, "instance": "2026-02-30"},
        {"schema": {"format": "date"}, "instance": "2026-02-30", "format": True},
        {"schema": {"format": "date"}, "instance": "2026-02-28", "format": True},
    ]
    answers = suite.batch(binary, ["validate", "--batch"], questions)
    assert [answer["valid"] for answer in answers] == [False, True, False, True]
