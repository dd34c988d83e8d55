"""The shipped policies are packs: each has all that somebody needs who copies it, and its parts fit each other.

What the context loader writes into a real Redis is read back by `verdict decide` for the pack's own event, with the answer of the
pack's first case, and decided.
"""

import json
import re
import shutil
import subprocess

import pytest

from support import libconfig, paths
from support.redis_server import RedisServer
from support.worker import settings

POLICIES = sorted(path.relative_to(paths.POLICIES).with_suffix("") for path in paths.POLICIES.glob("*/*.cfg"))
PARTS = ("prompt.md", "cases.json", "md", "event.json", "context.redis")

# Cases beside the ordinary ones, by what their names begin with or hold.
KINDS = {"hostile": r"hostile", "no model": r"model is (down|slow)", "context missing": r"context missing", "limit": r"limit reached"}
MIN_CASES = 15


def part(policy, suffix):
    return paths.POLICIES / policy.parent / f"{policy.name}.{suffix}"


def cases(policy):
    return json.loads(part(policy, "cases.json").read_text())


def first_answers(policy):
    """Those of the first case that the model decides where nothing is remembered yet: the pack's event is its event, or alike."""
    remembers = [f"/{part}" for part in ("state", "memory") if part in cases(policy)[0]]
    return next(case["model"] for case in cases(policy) if case["expect"]["status"] == "decided" and case.get("model")
                and all(part in case.get("unset", []) for part in remembers))


def verdict(*argv):
    return subprocess.run([paths.BINARY, *map(str, argv)], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def redis(run_dir):
    server = RedisServer(run_dir / "packs-redis").start()
    yield server
    server.kill()


def test_the_ten_are_there():
    assert [str(policy) for policy in POLICIES] == [
        "billing/dunning", "billing/outreach", "billing/upgrade", "marketplace/dispute", "marketplace/order_change",
        "marketplace/ranking", "marketplace/trust", "orders/fulfilment", "orders/promise", "orders/risk_hold"]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_pack_is_complete(policy):
    assert [suffix for suffix in PARTS if not part(policy, suffix).is_file()] == []
    names = [case["name"] for case in cases(policy)]
    assert len(names) >= MIN_CASES and len(set(names)) == len(names)
    for kind, pattern in KINDS.items():
        assert any(re.search(pattern, name) for name in names), f"no case: {kind}"
    page = part(policy, "md").read_text()
    for heading in ("**May never**", "**When the model is down**", "**Reads**", "**Replaces**"):
        assert heading in page
    assert f"({policy}.md)" in (paths.POLICIES / "README.md").read_text()


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_its_cases_pass_and_cover_all_of_it(policy, binary):
    done = verdict("test", part(policy, "cfg"), "--coverage-min", 100)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_its_page_names_its_rules(policy):
    """Each rule of the file is in the table of what it may never do: `name` stands in the page."""
    page = part(policy, "md").read_text()
    text = part(policy, "cfg").read_text()
    rules = set(re.findall(r"(\w+)\s*=\s*\{\s*expr\s*=", text))
    limits = set(re.findall(r"(\w+)\s*=\s*\{\s*key\s*=", text.partition("limits    =")[2]))
    assert rules and {name for name in rules | limits if f"`{name}`" not in page} == set()


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_its_event_is_decided_with_what_its_loader_wrote(policy, redis, test_dir, binary):
    redis.client().flushall()
    loaded = subprocess.run([shutil.which("redis-cli"), "-p", str(redis.port)], input=part(policy, "context.redis").read_text(),
                            capture_output=True, text=True, timeout=20)
    assert loaded.returncode == 0 and "ERR" not in loaded.stdout, loaded.stdout
    topic, = re.search(r'topics\s*=\s*\["([^"]+)"\]', part(policy, "cfg").read_text()).groups()
    conf = settings("127.0.0.1:1", redis.address, "http://127.0.0.1:1/v1", [{"name": topic, "format": "json"}])
    (test_dir / "verdict.cfg").write_text(libconfig.dumps(conf))
    answers = [answer if isinstance(answer, str) else json.dumps(answer) for answer in first_answers(policy)]
    done = verdict("decide", part(policy, "cfg"), part(policy, "event.json"), "-c", test_dir / "verdict.cfg", "--json",
                   *[word for answer in answers for word in ("--answer", answer)])
    assert done.returncode == 0, done.stdout + done.stderr
    decision, audit = map(json.loads, done.stdout.splitlines())
    assert decision["status"] == "decided" and decision["decided_by"] == "model", done.stdout
    assert all(value for value in audit["context"].values()), audit["context"]


def test_the_readmes_way_to_a_policy_of_ones_own(tmp_path, binary):
    """Copy, change a rule, see its case fail as the README shows, change the case, see all pass."""
    shutil.copytree(paths.POLICIES, tmp_path / "policies")
    (tmp_path / "schemas").symlink_to(paths.SCHEMAS)
    readme = (paths.POLICIES / "README.md").read_text()
    for line in re.findall(r"^    (cp policies/.*)$", readme, re.M):
        subprocess.run(line.split(), cwd=tmp_path, check=True, timeout=10)
    mine = tmp_path / "policies/orders/mine.cfg"
    text = mine.read_text().replace('"orders.fulfilment"', '"orders.mine"').replace(' mode = "enforce";', "")
    mine.write_text(text.replace("cost_minor * 10 <= value", "cost_minor * 8 <= value"))
    shown = re.search(r"^    \$ verdict test policies/orders/mine.cfg\n((?:    .*\n)+)", readme, re.M)[1].replace("\n    ", "\n").strip()
    done = subprocess.run([paths.BINARY, "test", "policies/orders/mine.cfg"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 65 and done.stdout.strip() == shown
    cases_file = mine.with_name("mine.cases.json")
    wrong, = [line for line in cases_file.read_text().splitlines() if "express costs more than a tenth" in line]
    body = json.loads(cases_file.read_text())
    case, = [case for case in body if case["name"] in wrong]
    case.update(name="express costs more than an eighth", set={"/context/warehouses/east/carriers/express/cost_minor": 5200})
    cases_file.write_text(json.dumps(body))
    done = verdict("test", mine, "--coverage-min", 100)
    assert done.returncode == 0, done.stdout
