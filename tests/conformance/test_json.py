"""The strict reader against JSONTestSuite, and the two commands against lines that are no questions."""

import json
import subprocess

from conformance import suite

# name: reason
EXCEPTIONS = {}


def test_every_text_of_the_suite_is_accepted_or_refused_as_it_says(binary):
    cases = suite.rows("json-parsing.jsonl")
    answers = suite.batch(binary, ["json", "--batch"], [{"bytes_base64": case["bytes_base64"]} for case in cases])

    def passes(case, answer):
        if case["expect"] == "either":
            return isinstance(answer.get("accept"), bool)
        return answer.get("accept") is (case["expect"] == "accept")

    suite.judge(cases, answers, passes, EXCEPTIONS)


def test_a_refused_text_is_told_where_and_why(binary):
    cases = [case for case in suite.rows("json-parsing.jsonl") if case["expect"] == "reject"]
    answers = suite.batch(binary, ["json", "--batch"], [{"bytes_base64": case["bytes_base64"]} for case in cases])
    for case, answer in zip(cases, answers):
        assert answer["error"].startswith("line "), case["name"]


BAD_LINES = [
    b"",
    b"   ",
    b"nonsense",
    b"[1,2]",
    b"{}",
    b'{"a":1}\x00{"b":2}',
    b"\xff\xfe\x00",
    b'{"schema":1,"instance":1}',
    b'{"schema":{"type":7},"instance":1,"bytes_base64":7}',
    b'{"schema":{"$ref":"http://example.com/x"},"instance":1,"bytes_base64":"?"}',
    b"[" * 100000,
    b'{"schema":{},"instance":1,"draft":"draft3"}',
    b"x" * 300000,
]


def test_bad_lines_get_an_error_and_do_not_disturb_the_others(binary):
    good = {"json": b'{"bytes_base64":"MQ=="}', "validate": b'{"schema":{},"instance":1}'}
    expected = {"json": {"accept": True}, "validate": {"valid": True}}
    for command, line in good.items():
        text = b"\n".join(part for bad in BAD_LINES for part in (bad, line))  # the last line has no newline
        done = subprocess.run([binary, command, "--batch"], input=text, capture_output=True, timeout=60, check=False)
        answers = [json.loads(answer) for answer in done.stdout.splitlines()]
        assert done.returncode == 0
        assert len(answers) == 2 * len(BAD_LINES)
        assert all("error" in answer for answer in answers[0::2]), command
        assert all(answer == expected[command] for answer in answers[1::2]), command


def test_files_are_judged_for_people(binary, tmp_path):
    (tmp_path / "order.schema.json").write_text('{"properties":{"n":{"minimum":1}},"required":["id"]}')
    (tmp_path / "good.json").write_text('{"id":1,"n":2}')
    (tmp_path / "bad.json").write_text('{\n  "id": 7,\n  "n": 0\n}\n')
    (tmp_path / "broken.json").write_text('{"id":1,\n"id":2}')

    def run(*arguments):
        done = subprocess.run([binary, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    assert run("validate", "order.schema.json", "good.json") == (0, "good.json: valid\n", "")
    status, out, _ = run("validate", "order.schema.json", "good.json", "bad.json")
    assert status == 65
    assert "bad.json:3: /n must be at least 1, is 0 (schema: /properties/n/minimum)\n" in out
    status, _, err = run("json", "good.json", "broken.json")
    assert (status, err) == (65, "broken.json: line 2, column 1: this key occurs twice in its object\n")
    assert run("json", "nowhere.json")[0] == 66
    assert run("validate", "broken.json", "good.json")[0] == 65
