#!/usr/bin/env python3
"""All of JSON-Schema-Test-Suite, remotes and optional parts included, from a checkout of it:

    tests/conformance/whole_suite.py FOLDER [BINARY]

Prints one line for each part and exits 1 when a case fails that is not listed here with its reason.
"""

import json
import pathlib
import subprocess
import sys

# (draft, file, group): reason
DRAFT_2019 = "draft 2019-09 is not supported: its $schema is refused with a message"
CONTENT = "content* are annotations in every draft, as 2020-12 has it; draft-07 leaves asserting them to choice"
EXCEPTIONS = {
    ("draft2020-12", "cross-draft.json", "refs to historic drafts are processed as historic drafts"): DRAFT_2019,
    ("draft7", "cross-draft.json", "refs to future drafts are processed as future drafts"): DRAFT_2019,
    (
        "draft2020-12",
        "ecmascript-regex.json",
        "\\a is not an ECMA 262 control escape",
    ): 'asks the metaschema for "format": "regex", an annotation unless --format is given; passes with it',
    ("draft7", "content.json", "validation of string-encoded content based on media type"): CONTENT,
    ("draft7", "content.json", "validation of binary string-encoding"): CONTENT,
    ("draft7", "content.json", "validation of binary-encoded media type documents"): CONTENT,
}

PARTS = [("", []), ("optional", []), ("optional/format", ["--format"])]


def cases_of(folder):
    for path in sorted(folder.glob("*.json")):
        for group in json.loads(path.read_text(encoding="utf-8")):
            for test in group["tests"]:
                yield path.name, group, test


def run_part(binary, suite, draft, part, options):
    cases = list(cases_of(suite / "tests" / draft / part))
    text = "".join(json.dumps({"schema": group["schema"], "instance": test["data"]}) + "\n" for _, group, test in cases)
    command = [binary, "validate", "--batch", "--map", f"http://localhost:1234/={suite / 'remotes'}", *options]
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=300, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases), "one answer for each line"
    wrong = excepted = 0
    for (name, group, test), answer in zip(cases, answers):
        if answer.get("valid") is test["valid"]:
            continue
        if (draft, name, group["description"]) in EXCEPTIONS:
            excepted += 1
            continue
        wrong += 1
        print(f"  FAILED {name}: {group['description']}: {test['description']}: {json.dumps(answer)[:160]}")
    print(f"{draft} {part or 'required'}: {len(cases) - wrong - excepted} of {len(cases)} pass, {excepted} listed exceptions")
    return wrong


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    suite = pathlib.Path(sys.argv[1]).resolve()
    binary = sys.argv[2] if len(sys.argv) > 2 else "build/verdict"
    wrong = 0
    for draft, options in (("draft2020-12", []), ("draft7", ["--draft", "draft7"])):
        for part, more in PARTS:
            wrong += run_part(binary, suite, draft, part, options + more)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
