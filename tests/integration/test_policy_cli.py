"""`verdict check` and `verdict test` as users run them: the shipped policies, a mistake of each kind."""

import json
import shutil
import subprocess

import pytest

from support.paths import BINARY, POLICIES, ROOT, SCHEMAS



def verdict(*args, cwd=ROOT):
    return subprocess.run([str(BINARY), *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture
def copy(tmp_path):
    """The shipped policies and schemas, to change."""
    shutil.copytree(POLICIES, tmp_path / "policies")
    shutil.copytree(SCHEMAS, tmp_path / "schemas")
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def line_of(path, part):
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if part in line)


def test_the_shipped_policies_are_clean_and_wholly_covered():
    assert verdict("check", "policies").returncode == 0
    done = verdict("test", "policies", "--coverage-min", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout


@pytest.mark.parametrize("old, new, says", [
    ("attempt_count < 4", "attempt_cnt < 4 &&", "column"),
    ("!hard", "!hrd", 'hrd'),
    ('type = "integer"; min = 1; max = 168', 'type = "integr"; min = 1; max = 168', '"integer"'),
    ("on_fail = \"clamp\"", "on_fial = \"clamp\"", "write: on_fail"),
    ("max = 168;", "max = 3000000000;", "needs an L"),
    ('enum = ["same", "backup"]', 'enum = ["same", "backup",]', "a comma before"),
    ('why  = "Card networks stop us after four attempts."', 'why  = "Card networks stop us after four attempts.', "is not closed on its line"),
    ('action = "retry"; params = { after_hours = 24', 'action = "retri"; params = { after_hours = 24', 'there is no action "retri"'),
    ('after_hours = 24; method = "same"', 'after_hours = 24; method = "none"', "can never pass"),
    ('"/sub"]', '"/subs"]', "write: sub"),
    ("budget    = {", "limits = { daily = { key = \"all\"; max = 5; }; }; budget = {", "neither window_s nor hold_s"),
])
def test_a_mistake_is_named_with_file_line_and_a_way_out(copy, old, new, says):
    policy = copy / "policies" / "billing" / "dunning.cfg"
    edit(policy, old, new)
    done = verdict("check", "policies", cwd=copy)
    assert done.returncode == 78
    assert says in done.stderr, done.stderr
    assert f"policies/billing/dunning.cfg:{line_of(policy, new.splitlines()[0])}:" in done.stderr, done.stderr


def test_all_mistakes_of_all_files_come_at_once(copy):
    edit(copy / "policies/billing/dunning.cfg", "version = 1", "version = 0")
    edit(copy / "policies/billing/dunning.cfg", "min = 1; max = 14", "min = 15; max = 14")
    edit(copy / "policies/marketplace/dispute.cfg", 'op = "hash"', 'op = "hsh"')
    edit(copy / "schemas/events/amazon.order_change.json", '"type": "object",', '"type": "objekt",')
    done = verdict("check", "policies", cwd=copy)
    assert done.returncode == 78
    for part in ("policy.version is 0", "allows nothing", '"hsh"', "does not compile", "4 errors"):
        assert part in done.stderr, done.stderr


def test_a_changed_rule_fails_its_case_and_the_case_says_why(copy):
    """What a new user does first: copy, change a rule, see the case fail, change the case, see it pass."""
    policy = copy / "policies/orders/fulfilment.cfg"
    edit(policy, "cost_minor * 10 <= value", "cost_minor * 100 <= value")
    done = verdict("test", policy)
    assert done.returncode == 65
    assert "FAIL from one warehouse, standard" in done.stdout
    assert "margin fail: Shipping may cost at most a tenth of the order." in done.stdout
    edit(policy, "cost_minor * 100 <= value", "cost_minor * 10 <= value")
    assert verdict("test", policy).returncode == 0


def test_coverage_below_the_minimum_fails_and_lists_what_is_missing(copy):
    cases = copy / "policies/marketplace/order_change.cases.json"
    kept = [c for c in json.loads(cases.read_text()) if c["name"] != "a return that nobody asked for"]
    cases.write_text(json.dumps(kept))
    done = verdict("test", cases.with_name("order_change.cfg"), "--coverage-min", "100")
    assert done.returncode == 65
    assert "not covered: offer_return.regrets never failed" in done.stdout


@pytest.mark.parametrize("text, says", [
    ("{", "order_change.cases.json"),
    ("{}", "must be a list"),
    ('[{"name":"x","event":{},"expekt":{}}]', "a case is"),
    ('[{"name":"x","event":{},"expect":{"status":"skip","actoin":"y"}}]', "write action"),
    ('[{"name":"x","like":"y","expect":{"status":"skip"}}]', "no earlier case"),
    ('[{"name":"x","event":{},"now":"yesterday","expect":{"status":"skip"}}]', "RFC 3339"),
])
def test_broken_cases_are_refused(copy, text, says):
    cases = copy / "policies/marketplace/order_change.cases.json"
    cases.write_text(text)
    done = verdict("test", cases.with_name("order_change.cfg"))
    assert done.returncode in (65, 78)
    assert says in done.stdout + done.stderr


def test_a_schema_and_a_missing_file_on_the_command_line(tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"type": "objekt"}')
    assert verdict("check", SCHEMAS / "context/subscription.json").returncode == 0
    assert verdict("check", bad).returncode == 78
    assert verdict("check", tmp_path / "none.cfg").returncode == 78
    assert verdict("check").returncode == 64
    assert verdict("test", tmp_path).returncode != 0
