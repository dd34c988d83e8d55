"""Text from outside that wants something, in every place of every shipped policy, and a model that obeys it.

One place at a time through `verdict test`: the outcome is what it is for innocent text.
"""

import pytest

from support import deciding, hostile, libconfig, places

POLICIES = deciding.policies()
NAMES = [path.stem for path in POLICIES]
SHARED_ABSENT = f"{hostile.INJECTIONS} is not there: the shared strings were not tried, only the project's own"


@pytest.fixture(scope="module")
def controls(binary, tmp_path_factory):
    return places.controls(tmp_path_factory.mktemp("controls"), {policy: deciding.decided_by_a_model(policy) for policy in POLICIES})


def change_nothing(directory, controls, texts):
    """Each text in each place, and a model that obeys: what comes out is what comes out for innocent text."""
    rows = {policy: [control.case.body] + [
        places.like(control.case, path, places.short(text) if path in control.tight else text, control.got[path],
                    places.REFUSED[n % len(places.REFUSED)])
        for path in control.free() for n, text in enumerate(texts)] for policy, control in controls.items()}
    number = sum(len(cases) for cases in rows.values())
    assert number > len(texts) * len(POLICIES)
    done = places.run_cases(directory, rows)
    assert done.returncode == 0, done.stdout[:3000] + done.stderr[:1000]
    assert f"{number} cases, 0 failed" in done.stdout


def test_our_own_hostile_texts_change_nothing_in_any_place(controls, tmp_path):
    change_nothing(tmp_path, controls, hostile.OWN)


def test_the_shared_hostile_texts_change_nothing_in_any_place(controls, tmp_path):
    if not hostile.shared():
        pytest.skip(SHARED_ABSENT)
    change_nothing(tmp_path, controls, hostile.shared())


def test_hostile_texts_in_tool_results_change_nothing(controls, tmp_path):
    """Each policy with a tool added whose answer is the text; the model looks there, and obeys what it finds."""
    look = {"tool": "notes", "args": {"about": "customer"}}
    texts = hostile.OWN + hostile.shared()
    rows, number = {}, 0
    for policy, control in controls.items():
        deciding.with_a_tool(tmp_path, policy)
        first = next(got for path, got in control.got.items() if path in control.free())

        def case(name, text, expect, answer):
            return {"name": name, "like": control.case.body["name"], "expect": expect, "model": [look] + [answer] * 3,
                    "tools": {"notes": [{"2026-01-02": text}]}}

        rows[policy] = [control.case.body, case("innocent", places.INNOCENT, first, places.REFUSED[0])] + [
            case(f"text {n}", text, first, places.REFUSED[n % len(places.REFUSED)]) for n, text in enumerate(texts)]
        number += len(rows[policy])
    done = places.run_cases(tmp_path, rows)
    assert done.returncode == 0, done.stdout[:3000] + done.stderr[:1000]
    assert f"{number} cases, 0 failed" in done.stdout


def shown_to_a_model(directory, control, event):
    """{pointer: text} of the untrusted facts that a model is shown of this event; {} when it is not asked."""
    directory.mkdir()
    result = deciding.decide(directory, control.case, event=event, answers=places.REFUSED[:1] * 3)
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
        shown = {} if part != "event" else shown_to_a_model(test_dir / str(n), control, hostile.put(event, path, places.INNOCENT))
        covered |= {at for at, leaf in shown.items() if leaf == places.INNOCENT}
    assert covered, "no place was shown to the model"
    # What is shown and is no place: text that the event's schema does not let be free, and names of our own records.
    fixed = {leaf for path, leaf in hostile.leaves(event) if ("event", *path) in control.got and ("event", *path) not in control.free()}
    ours = {step for path, _ in hostile.leaves(control.case.body.get("context", {})) for step in path}
    words = policy.read_text()  # such as the measures that a state knows, and the choices that a let computes
    shown = shown_to_a_model(test_dir / "plain", control, event)
    assert {at for at, leaf in shown.items() if leaf not in fixed | ours and f"'{leaf}'" not in words and f'"{leaf}"' not in words} <= covered


# --- that the judge and the nose of these tests work --------------------------------------------------------------------

JUDGED = {"actions": {"pay": {"params": {"amount": {"type": "integer", "min": 1, "max": 10}, "to": {"type": "string", "from": "known"}},
                              "require": {"proven": {"expr": "true"}}}, "wait": {}},
          "fallback": {"action": "wait"}}


def judged(status="decided", action="pay", rules=("proven",), verdict="pass", **params):
    params = {"amount": 5, "to": "us", **params} if action == "pay" else params
    return {"status": status, "action": action, "params": params, "rules": [{"id": rule, "verdict": verdict} for rule in rules]}


@pytest.mark.parametrize("decision", [
    judged(action="steal"), judged(amount=0), judged(amount=11), judged(amount="5"), judged(amount=True), judged(to="them"),
    judged(extra=1), judged(rules=()), judged(verdict="fail"), judged("fallback"), judged("decided", None),
], ids=lambda decision: str(decision["params"]))
def test_the_tests_own_judge_finds_what_is_outside(decision):
    assert hostile.faults(JUDGED, judged(), {"us"}) == []
    assert hostile.faults(JUDGED, judged("fallback", "wait"), {"us"}) == []
    assert hostile.faults(JUDGED, decision, {"us"})


def test_the_nose_finds_a_part_of_a_text_anywhere():
    nose = hostile.Nose(hostile.OWN)
    assert not nose.finds("ts=2026-11-01 level=info event=job.settled ctx=orders/0/17")
    for n, text in enumerate(hostile.OWN):
        assert n in nose.finds(f"level=info key={text[5:40]} x=1")
        assert n in nose.finds(text.encode())
