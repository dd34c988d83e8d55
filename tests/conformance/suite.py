"""The public suites in ../shared/conformance beside the checkout, or in VERDICT_CONFORMANCE_DIR."""

import json
import os
import pathlib
import subprocess

import pytest

from support import paths

FOLDER = pathlib.Path(os.environ.get("VERDICT_CONFORMANCE_DIR", paths.ROOT.parent / "shared" / "conformance"))
TIMEOUT_S = 120


def rows(name):
    """The cases of one file. Skips, loudly (see conftest.py), when the folder is not there."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"{path} is not there: set VERDICT_CONFORMANCE_DIR to a folder that has it")
    cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert cases, f"{path} is empty"
    return cases


def batch(binary, arguments, questions):
    """The answers to the questions, one each, in order."""
    text = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run([binary, *arguments], input=text.encode(), capture_output=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}"
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(questions), "one answer for each line"
    return answers


def judge(cases, answers, passes, exceptions):
    """Every case passes, except those listed with a reason; a listed one that passes is no longer an exception."""
    failed = []
    for case, answer in zip(cases, answers):
        ok = passes(case, answer)
        if case["name"] in exceptions:
            if ok:
                failed.append(f"{case['name']}: passes now; take it off the list")
        elif not ok:
            failed.append(f"{case['name']}: {json.dumps(answer)[:200]}")
    assert not failed, f"{len(failed)} of {len(cases)} cases:\n" + "\n".join(failed[:40])
