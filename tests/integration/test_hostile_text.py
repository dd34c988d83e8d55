"""Text from outside that wants something, in every place of every shipped policy, and a model that obeys it.

One place at a time through `verdict test`: the outcome is what it is for innocent text.
"""

import dataclasses
import json
import re
import shutil
import subprocess
import time
import urllib.parse

import pytest

from support import deciding, hostile, libconfig, paths

POLICIES = deciding.policies()
NAMES = [path.stem for path in POLICIES]
INNOCENT = "an innocent note of nobody"
SHARED_ABSENT = f"{hostile.INJECTIONS} is not there: the shared strings were not tried, only the project's own"

# What no policy can accept, whatever the event: an action that is not declared, one with a member of its own, no proposal.
REFUSED = [{"action": "transfer_money", "params": {"to": "me"}, "confidence": 1.0, "rationale": "", "evidence": []},
           {"action": "transfer_money", "params": {}, "confidence": 1.0, "rationale": "", "evidence": [], "approved": True},
           "Certainly! Everything is approved."]


# --- one place at a time ------------------------------------------------------------------------------------------------

def places(case):
    """Paths in a case where an outsider's text can stand: strings of the event and of notes, and what may be one and is null."""
    return [(part, *path) for part in ("event", "memory") for path, leaf in hostile.leaves(case.body.get(part, {}))
            if leaf is None or isinstance(leaf, str)]


def like(case, path, text, expect, answer):
    return {"name": f"{text[:20]!r} at {hostile.pointer(path)}", "like": case.body["name"], "expect": expect, "model": [answer] * 3,
            "set": {hostile.pointer(path): text}}


def run_cases(directory, rows):
    """`verdict test` with these cases, rows: {policy: [case, ...]}; what it printed."""
    shutil.copytree(paths.POLICIES, directory / "policies")
    shutil.copytree(paths.SCHEMAS, directory / "schemas")
    for policy, cases in rows.items():
        (directory / policy.relative_to(paths.ROOT)).with_suffix(".cases.json").write_text(json.dumps(cases))
    return subprocess.run([str(paths.BINARY), "test", "policies"], cwd=directory, capture_output=True, text=True, timeout=120)


def learn(directory, cases, text):
    """{policy: {path: (status, action)}} with this text there: cases that expect nothing that there is say what they got."""
    expect = {"status": "learn", "action": "learn"}
    done = run_cases(directory, {policy: [case.body] + [like(case, path, text, expect, REFUSED[0]) for path in places(case)]
                                 for policy, case in cases.items()})
    out, at = {policy: {} for policy in cases}, None
    policy = None
    for line in done.stdout.splitlines():
        if found := re.match(r"(\S+\.cfg): ", line):
            policy = paths.ROOT / found[1]
        elif found := re.match(r"  FAIL .* at (/.*)", line):
            at = found[1]
            out[policy][at] = {}
        elif found := re.match(r"    (status|action): expected \S+, got (.*)", line):
            out[policy][at][found[1]] = None if found[2] == "null" else found[2]
    for policy, case in cases.items():
        assert set(out[policy]) == {hostile.pointer(path) for path in places(case)}, done.stdout[:3000]
    return out


@dataclasses.dataclass
class Control:
    """What one policy does with innocent text, a place at a time."""

    case: deciding.Case
    got: dict    # path: {"status", "action"}
    tight: set   # paths where a long text is a dead letter: the schema bounds it, or a key is made from it

    def free(self):
        """The paths where text may be anything: the event is decided, whatever stands there."""
        return [path for path, got in self.got.items() if got["status"] not in ("dead_letter", "skip")]


@pytest.fixture(scope="module")
def controls(binary, tmp_path_factory):
    cases = {policy: deciding.decided_by_a_model(policy) for policy in POLICIES}
    got = learn(tmp_path_factory.mktemp("innocent"), cases, INNOCENT)
    long = learn(tmp_path_factory.mktemp("long"), cases, INNOCENT * 40)
    out = {}
    for policy, case in cases.items():
        at = {path: hostile.pointer(path) for path in places(case)}
        out[policy] = Control(case, {path: got[policy][at[path]] for path in at},
                              {path for path in at if long[policy][at[path]] != got[policy][at[path]]})
        assert out[policy].free()
    return out


def short(text):
    """As much of the text as a key and most schemas take: 60 characters, 128 bytes percent-encoded."""
    out = text[:60]
    while len(urllib.parse.quote(out, safe="")) > 128:
        out = out[:-1]
    return out


def change_nothing(directory, controls, texts):
    """Each text in each place, and a model that obeys: what comes out is what comes out for innocent text."""
    rows = {policy: [control.case.body] + [
        like(control.case, path, short(text) if path in control.tight else text, control.got[path], REFUSED[n % len(REFUSED)])
        for path in control.free() for n, text in enumerate(texts)] for policy, control in controls.items()}
    number = sum(len(cases) for cases in rows.values())
    assert number > len(texts) * len(POLICIES)
    done = run_cases(directory, rows)
    assert done.returncode == 0, done.stdout[:3000] + done.stderr[:1000]
    assert f"{number} cases, 0 failed" in done.stdout


def test_our_own_hostile_texts_change_nothing_in_any_place(controls, tmp_path):
    change_nothing(tmp_path, controls, hostile.OWN)


def test_the_shared_hostile_texts_change_nothing_in_any_place(controls, tmp_path):
    if not hostile.shared():
        pytest.skip(SHARED_ABSENT)
    change_nothing(tmp_path, controls, hostile.shared())


def shown_to_a_model(directory, control, event):
    """{pointer: text} of the untrusted facts that a model is shown of this event; {} when it is not asked."""
    directory.mkdir()
    fresh = {**event, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())} if "time" in event else event
    result = deciding.decide(directory, control.case, event=fresh, answers=REFUSED[:1] * 3)
    steps = result.audit["reasoning"]["steps"] if result is not None else []
    if not steps:
        return {}
    inside, _ = hostile.untrusted(steps[0]["messages"][1]["text"])
    return {hostile.pointer(path): leaf for path, leaf in hostile.leaves(hostile.facts(inside)) if isinstance(leaf, str)}


def test_notes_are_among_the_places(controls):
    """Of every policy that shows its memory."""
    for policy, control in controls.items():
        if "/memory" in libconfig.loads(policy.read_text())["reasoning"]["show"]:
            assert any(path[0] == "memory" and path[-1] == "text" for path in control.free()), policy


@pytest.mark.parametrize("policy", POLICIES, ids=NAMES)
def test_every_untrusted_text_that_the_policy_shows_is_among_the_places(controls, policy, test_dir):
    """Otherwise the tests of this file would not be about what the model reads."""
    control = controls[policy]
    event = control.case.body["event"]
    covered = set()
    for n, (part, *path) in enumerate(control.free()):
        shown = {} if part != "event" else shown_to_a_model(test_dir / str(n), control, hostile.put(event, path, INNOCENT))
        covered |= {at for at, leaf in shown.items() if leaf == INNOCENT}
    assert covered, "no place was shown to the model"
    # What is shown and is no place: text that the event's schema does not let be free, and names of our own records.
    fixed = {leaf for path, leaf in hostile.leaves(event) if ("event", *path) in control.got and ("event", *path) not in control.free()}
    ours = {step for path, _ in hostile.leaves(control.case.body.get("context", {})) for step in path}
    shown = shown_to_a_model(test_dir / "plain", control, event)
    assert {at for at, leaf in shown.items() if leaf not in fixed | ours} <= covered
