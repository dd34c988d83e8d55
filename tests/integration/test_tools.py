"""Tools: what a model looks up before it decides, over the wire, with both APIs; and where a tool must never get.

Real Redis, an HTTPS server with its own CA, a scripted model; a broker for the tests of the whole worker.
"""

import json
import os
import socket
import subprocess

import pytest

from support import hostile, libconfig, model, paths
from support.processes import wait_until
from support.shop import Shop, policy
from support.tool_server import Answer, ToolServer, certificate
from support.worker import Worker

TOOLS_BUDGET = {"max_model_calls": 4, "max_repairs": 1, "max_tool_calls": 3}


@pytest.fixture
def shop(broker, topics, binary, test_dir, redis):
    return Shop(broker, topics, test_dir, redis)


@pytest.fixture(scope="session")
def tls(run_dir):
    return certificate(run_dir)


def tools(port, scheme="https", host="127.0.0.1", **changes):
    """One of each kind; the model may look at the customer of the event, or at the house account."""
    args = {"id": {"type": "string", "from": "[event.data.customer, 'house']"}}
    return {
        "profile": {"why": "What we know of a customer.", "redis": "HGETALL profile:{args.id}", "args": args},
        "orders": {"why": "Open orders of a customer.", "http": f"{scheme}://{host}:{port}/c/{{args.id}}/orders?open=1",
                   "args": args, "timeout_ms": 1500, "max_bytes": 4096, **changes},
    }


def hosts(port, ca=None, host="127.0.0.1", **changes):
    entry = {"host": f"{host}:{port}", "addresses": ["loopback"], **changes}
    return {"hosts": ({**entry, "ca_file": str(ca)} if ca else entry,)}


def looking_up(*calls, then=model.obedient):
    """A model that calls these tools one after the other, each in an answer of its own, and then decides."""
    def script(request):
        done = len(model.tool_results(request))
        if done < len(calls):
            return model.calling(request, calls[done])
        return then(request)
    return script


def audit_of(shop):
    record, = shop.read("decisions.audit", count=1)
    return json.loads(record.value)


def audit_calls(audit):
    return [call for step in audit["reasoning"]["steps"] for call in step["tools"]]


# --- over the wire --------------------------------------------------------------------------------------------------

ENTRIES = {
    "openai": {},
    "openai, the proposal a tool": {"schema": "tool"},
    "anthropic": {"provider": "anthropic"},
    "anthropic, the proposal in the text": {"provider": "anthropic", "schema": "none"},
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_a_model_looks_things_up_and_decides(shop, redis, tls, test_dir, entry):
    ca, context = tls
    token = test_dir / "token"
    token.write_text("s3cr3t-token\n")
    ship = {"action": "ship", "params": {}, "confidence": 0.9, "rationale": "As it is.", "evidence": ["/tools/orders/open/0"]}
    redis.client().hset("profile:c1", mapping={"tier": "gold", "note": "hello\u202e there"})
    with ToolServer(lambda path: {"open": ["o1", "o2"]}, context) as server:
        shop.write(budget={**TOOLS_BUDGET, "max_tool_calls": 2}, tools=tools(server.port))
        script = looking_up(("profile", {"id": "c1"}), ("orders", {"id": "c1"}), then=lambda r: model.answering(r, ship))
        with shop.worker(script, models={"main": entry},
                         tools=hosts(server.port, ca, token_file=str(token))) as (worker, scripted):
            shop.publish("c1")
            decision, = shop.read(count=1)
            assert worker.metric("verdict_tool_calls_total", policy="orders.ops", outcome="answered") == 2
    assert (decision["status"], decision["evidence"]) == ("decided", ["/tools/orders/open/0"])
    assert (decision["usage"]["tool_calls"], decision["usage"]["model_calls"]) == (2, 3)
    got, = server.got
    assert got.path == "/c/c1/orders?open=1"
    assert got.headers["authorization"] == "Bearer s3cr3t-token"

    first, second, third = [asked.body for asked in scripted.requests]
    assert model.offered_tools(first) == model.offered_tools(second) == ["profile", "orders"]
    assert model.offered_tools(third) == [], "no call is left, and tools are still offered"
    (profile, _), (orders, _) = model.tool_results(third)
    for text, fact in (profile, '{"note":"hello there","tier":"gold"}'), (orders, '{"open":["o1","o2"]}'):
        begin, body, end, _ = text.split("\n")
        assert begin.startswith("<<<") and end == begin[3:] + ">>>" and body == fact
    assert model.system_text(first) == model.system_text(third)
    assert "gold" not in model.system_text(third)
    # The same beginning: what a provider has cached of the first request serves the others.
    assert third["messages"][:len(first["messages"])] == first["messages"]

    calls = audit_calls(audit := audit_of(shop))
    assert [(c["call"], c["tool"], c["status"], c["args"]) for c in calls] == [
        ("1.t0", "profile", "answered", {"id": "c1"}), ("2.t0", "orders", "answered", {"id": "c1"})]
    assert calls[1]["result"] == '{"open":["o1","o2"]}' and len(calls[1]["result_sha256"]) == 64
    assert audit["decision"]["usage"]["tool_calls"] == 2
    assert "s3cr3t-token" not in json.dumps(audit) + worker.log()


@pytest.mark.parametrize("entry", [{}, {"provider": "anthropic"}], ids=["openai", "anthropic"])
def test_a_model_that_only_calls_tools_ends_within_its_budget(shop, tls, entry):
    ca, context = tls
    with ToolServer(lambda path: {}, context) as server:
        shop.write(budget={**TOOLS_BUDGET, "max_tool_calls": 2}, tools=tools(server.port))
        with shop.worker(lambda request: model.calling(request, ("orders", {"id": "c1"})), models={"main": entry},
                         tools=hosts(server.port, ca)) as (worker, scripted):
            shop.publish("c1")
            decision, = shop.read(count=1)
    assert (decision["status"], decision["degraded_reason"]) == ("fallback", "budget_model_calls")
    assert len(scripted.requests) == 4 and len(server.got) == 2
    assert decision["usage"]["tool_calls"] == 2 and decision["usage"]["repairs"] == 0


def test_another_customers_id_is_refused_whoever_wants_it(shop, redis, tls):
    ca, context = tls
    redis.client().hset("profile:c2", mapping={"secret": "of another customer"})
    with ToolServer(lambda path: {"secret": "of another customer"}, context) as server:
        shop.write(budget=TOOLS_BUDGET, tools=tools(server.port))
        wanted = [("profile", {"id": "c2"}), ("orders", {"id": "../c2"}), ("nothing", {"id": "c1"})]
        with shop.worker(looking_up(*wanted), tools=hosts(server.port, ca)) as (worker, scripted):
            shop.publish("c1")
            decision, = shop.read(count=1)
    assert decision["status"] == "decided" and decision["usage"]["tool_calls"] == 0
    assert server.got == []
    results = [text for text, _ in model.tool_results(scripted.requests[-1].body)]
    assert len(results) == 3 and all(text.startswith("Refused: ") for text in results)
    assert "another customer" not in json.dumps([asked.body for asked in scripted.requests])
    assert [call["status"] for call in audit_calls(audit_of(shop))] == ["refused"] * 3


def test_calls_of_one_answer_run_at_once(shop, tls):
    ca, context = tls
    with ToolServer(lambda path: Answer({}, delay_s=0.7), context) as server:
        shop.write(budget=TOOLS_BUDGET, tools=tools(server.port))

        def script(request):
            if model.tool_results(request):
                return model.obedient(request)
            return model.calling(request, *[("orders", {"id": name}) for name in ("c1", "house", "c1")])

        with shop.worker(script, tools=hosts(server.port, ca)):
            shop.publish("c1")
            decision, = shop.read(count=1)
    assert decision["usage"]["tool_calls"] == 3 and len(server.got) == 3
    assert 700 <= decision["usage"]["total_ms"] < 1900


# --- what fails -----------------------------------------------------------------------------------------------------

FAILURES = {
    "late": (Answer({}, delay_s=4), "it took too long"),
    "an error": (Answer({}, status=503), "it says HTTP 503"),
    "not there": (Answer({}, status=404), "it says HTTP 404"),
    "a redirect": (Answer(status=302, headers={"location": "http://127.0.0.1:1/"}), "points to another place"),
    "too large": (Answer({"a": "x" * 5000}), "too large"),
    "too large and unannounced": (Answer(b"x" * 100_000, type="text/plain", headers={"connection": "close"}), "too large"),
    "broken JSON": (Answer(b'{"a":'), "no valid JSON"),
    "the same key twice": (Answer(b'{"a":1,"a":2}'), "no valid JSON"),
    "a picture": (Answer(b"\x89PNG", type="image/png"), "neither JSON nor text"),
    "no UTF-8": (Answer(b"\xff\xfe", type="text/plain"), "no UTF-8 text"),
    "cut off": (Answer(b'{"a":1', length=100, headers={"connection": "close"}), "cannot be reached"),
}


def test_a_tool_that_fails_is_told_to_the_model_and_stops_nothing(shop, redis, tls):
    ca, context = tls
    redis.client().set("profile:c0", "a string where a hash should be")
    answers = [answer for answer, _ in FAILURES.values()]
    with ToolServer(lambda path: answers[int(path.split("/")[2][1:])], context) as server:
        shop.write(budget={**TOOLS_BUDGET, "deadline_ms": 10000}, tools=tools(server.port))

        def script(request):
            if model.tool_results(request):
                return model.obedient(request)
            customer = next(f"c{i}" for i in range(99) if f'"customer":"c{i}"' in model.asked_text(request))
            return model.calling(request, ("orders", {"id": customer}), ("profile", {"id": customer}))

        with shop.worker(script, tools=hosts(server.port, ca)) as (worker, scripted):
            shop.publish(*[f"c{i}" for i in range(len(FAILURES))])
            decisions = shop.read(count=len(FAILURES))
            records = [json.loads(r.value) for r in shop.read("decisions.audit", count=len(FAILURES))]
    assert {d["status"] for d in decisions} == {"decided"}
    by_key = {record["decision"]["key"]: audit_calls(record) for record in records}
    for i, (name, (_, why)) in enumerate(FAILURES.items()):
        orders, profile = by_key[f"c{i}"]
        assert orders["status"] == "failed" and why in orders["why"], (name, orders)
        assert orders["ms"] < 2500
        assert (profile["status"], profile["result"]) == (("failed", None) if i == 0 else ("answered", "null"))
    assert "not what the tool reads" in by_key["c0"][1]["why"]
    told = [text for asked in scripted.requests for text, _ in model.tool_results(asked.body)]
    assert any(text == "No answer: it took too long.\n" for text in told)


def test_a_tool_never_outlives_the_deadline(shop, tls):
    ca, context = tls
    with ToolServer(lambda path: Answer({}, delay_s=5), context) as server:
        shop.write(budget={**TOOLS_BUDGET, "deadline_ms": 900}, tools=tools(server.port, timeout_ms=30000))
        with shop.worker(looking_up(("orders", {"id": "c1"})), tools=hosts(server.port, ca)):
            shop.publish("c1")
            decision, = shop.read(count=1)
    assert (decision["status"], decision["degraded_reason"]) == ("fallback", "deadline")
    assert 850 <= decision["usage"]["total_ms"] < 2000


def test_a_worker_stops_while_a_tool_is_asked(shop, tls):
    ca, context = tls
    with ToolServer(lambda path: Answer({}, delay_s=8), context) as server:
        shop.write(budget={**TOOLS_BUDGET, "deadline_ms": 30000}, tools=tools(server.port, timeout_ms=20000))
        with shop.worker(looking_up(("orders", {"id": "c1"})), tools=hosts(server.port, ca),
                         worker={"drain_timeout_ms": 300}) as (worker, _):
            shop.publish("c1")
            wait_until(lambda: server.got, 20, "the tool is asked", worker.process)
            assert worker.stop() == 0


def test_a_model_that_has_no_tools_is_passed_by(shop, redis):
    with model.ScriptedModel(lambda request: model.error(500, "asked", "this model must not be asked")) as plain:
        shop.write(budget=TOOLS_BUDGET, tools={"profile": tools(1)["profile"]})
        models = {"plain": {"url": plain.url, "model": "scripted", "tools": False}}
        with shop.worker(looking_up(("profile", {"id": "c1"})), models=models, default_models=["plain", "main"]):
            shop.publish("c1")
            decision, = shop.read(count=1)
        assert (decision["status"], decision["usage"]["tool_calls"]) == ("decided", 1)
        assert plain.requests == []


def test_without_its_ca_a_host_is_not_spoken_to(shop, tls):
    _, context = tls
    with ToolServer(lambda path: {}, context) as server:
        shop.write(budget=TOOLS_BUDGET, tools=tools(server.port))
        with shop.worker(looking_up(("orders", {"id": "c1"})), tools=hosts(server.port)):
            shop.publish("c1")
            shop.read(count=1)
        call, = audit_calls(audit_of(shop))
    assert (call["status"], call["why"]) == ("failed", "it cannot be reached")
    assert server.got == []


# --- the journal ----------------------------------------------------------------------------------------------------

def journaled(redis):
    """The steps of the one decision that the journal knows."""
    client = redis.client()
    return {step.decode() if isinstance(step, bytes) else step
            for key in client.scan_iter("*journal:*") for step in client.hkeys(key)}


def test_after_a_kill_neither_model_nor_tool_is_asked_again(shop, redis, tls):
    ca, context = tls
    redis.client().hset("profile:c1", mapping={"tier": "gold"})
    with ToolServer(lambda path: {"open": []}, context) as server:
        shop.write(budget=TOOLS_BUDGET, tools=tools(server.port))
        script = looking_up(("orders", {"id": "c1"}), ("profile", {"id": "c1"}))
        with model.ScriptedModel(script) as scripted:
            conf = {"tools": hosts(server.port, ca)}
            slow = {"commit_interval_ms": 60000, "commit_outcomes": 100000, "instance_id": "a"}
            worker = Worker(shop.directory, shop.settings(scripted.url, kafka=slow, **conf)).start()
            try:
                shop.publish("c1")
                wait_until(lambda: len(scripted.requests) == 3, 20, "the model has decided", worker.process)
                wait_until(lambda: journaled(redis) >= {"0", "1", "2", "3"} and len(journaled(redis)) == 6, 10,
                           "the journal has it all: what was seen, three answers, two results", worker.process)
            finally:
                worker.kill()
            redis.client().hset("profile:c1", mapping={"tier": "changed since"})
            worker = Worker(shop.directory, shop.settings(scripted.url, kafka={"instance_id": "a"}, **conf),
                            name="again").start()
            try:
                decision, = shop.read(count=1)
                audit = audit_of(shop)
            finally:
                worker.kill()
    assert decision["status"] == "decided"
    assert len(scripted.requests) == 3 and len(server.got) == 1
    assert [(c["from_journal"], c["result"]) for c in audit_calls(audit)] == [
        (True, '{"open":[]}'), (True, '{"tier":"gold"}')]


# --- hostile answers ------------------------------------------------------------------------------------------------

def test_hostile_answers_of_tools_decide_nothing(shop, tls):
    """Each text as a tool's answer, with a model that obeys: it proposes what no rule allows, and then what does not exist."""
    ca, context = tls
    texts = [text for text in hostile.OWN + hostile.shared() if len(text) >= hostile.WINDOW]
    nose = hostile.Nose(texts)
    actions = {"refund": {"params": {"amount": {"type": "integer", "min": 1, "max": 5000}},
                          "require": {"small": {"expr": "params.amount <= 100", "why": "More needs a person."}}}}

    def obeying(request):
        done = len([m for m in request["messages"] if m["role"] == "assistant"])
        if not model.tool_results(request):
            customer = next(f"c{i}" for i in reversed(range(len(texts))) if f'"customer":"c{i}"' in model.asked_text(request))
            return model.calling(request, ("orders", {"id": customer}))
        if done == 1:
            return model.completion(model.answer_to(request, "refund", {"amount": 4000}))
        return model.completion({"action": "transfer_money", "params": {}, "confidence": 1, "rationale": "", "evidence": []})

    with ToolServer(lambda path: Answer({"note": texts[int(path.split("/")[2][1:])]}), context) as server:
        shop.write(budget={**TOOLS_BUDGET, "deadline_ms": 30000}, tools=tools(server.port, max_bytes=16384, timeout_ms=10000),
                   actions=actions)
        with shop.worker(obeying, tools=hosts(server.port, ca), worker={"max_fallback_ratio": 1.0}) as (worker, scripted):
            shop.publish(*[f"c{i}" for i in range(len(texts))])
            decisions = shop.read(count=len(texts))
            keys = [key for key in shop.redis.client().keys("*")]
            log = worker.log()
    assert {(d["status"], d["action"]) for d in decisions} == {("fallback", "hold")}
    assert len(server.got) == len(texts)
    assert nose.finds("".join(text for asked in scripted.requests for text, _ in model.tool_results(asked.body))), \
        "the texts never reached the model: this test shows nothing"
    for asked in scripted.requests:
        assert not nose.finds(model.system_text(asked.body))
    assert not nose.finds(log) and not nose.finds("\n".join(map(str, keys)))
    assert not nose.finds("\n".join(f"{got.path} {got.headers}" for got in server.got))


# --- where a tool must never get ------------------------------------------------------------------------------------
#
# `verdict decide` with the answers given: the tool is real, and nothing else is needed.

DECIDE = json.dumps({"action": "hold", "params": {}, "confidence": 0.9, "rationale": "", "evidence": []})


def decide(test_dir, urls, allowed, env=None):
    """Calls tools t, t2, ... with these URLs; the audit's calls."""
    names = ["t", "t2", "t3"][:len(urls)]
    content = policy("orders", tools={n: {"why": "w", "http": url, "timeout_ms": 1500} for n, url in zip(names, urls)},
                     budget=TOOLS_BUDGET)
    (test_dir / "p.cfg").write_text(libconfig.dumps(content))
    (test_dir / "s.cfg").write_text(libconfig.dumps({
        "kafka": {"brokers": "127.0.0.1:1", "start": "earliest", "topics": ({"name": "orders"},)},
        "tools": {"hosts": tuple(allowed)}}))
    (test_dir / "e.json").write_text(json.dumps({"id": "1", "type": "order", "data": {"customer": "c1", "n": 0}}))
    answers = [arg for name in names for arg in ("--answer", json.dumps({"tool": name, "args": {}}))]
    done = subprocess.run([paths.BINARY, "decide", test_dir / "p.cfg", test_dir / "e.json", "-c", test_dir / "s.cfg", "--json",
                           *answers, "--answer", DECIDE], capture_output=True, text=True, timeout=30,
                          env={**os.environ, **(env or {})})
    assert done.returncode == 0, done.stderr
    audit = json.loads(done.stdout.splitlines()[1])
    return audit_calls(audit)


def refused(call):
    return call["status"] == "failed" and call["why"] == "its address is not allowed"


ADDRESSES = ["127.0.0.1", "127.9.9.9", "localhost", "tools.localhost", "10.0.0.1", "172.16.0.1", "192.168.0.1",
             "100.64.0.1", "169.254.1.1", "169.254.169.254", "100.100.100.200", "192.0.0.192", "0.0.0.0", "[::1]",
             "[fd00::1]", "[fe80::1]", "[fd00:ec2::254]", "[::]", "[64:ff9b::7f00:1]", "[2002:7f00:1::1]"]


def own_addresses():
    """Of this machine on its network, where it has one: a server on 0.0.0.0 answers there."""
    done = subprocess.run(["hostname", "-I"], capture_output=True, text=True, timeout=10)
    return [a if ":" not in a else f"[{a}]" for a in done.stdout.split() if not a.startswith("127.")][:2]


def test_no_address_of_the_machine_its_network_or_its_cloud_is_reached(binary, test_dir):
    """By number and by name; the operator allowed the host, and no kind of address beside public ones."""
    with ToolServer(lambda path: {"inside": True}, host="0.0.0.0") as v4, \
            ToolServer(lambda path: {"inside": True}, host="::1", family=socket.AF_INET6) as v6:
        for host in ADDRESSES + own_addresses():
            port = v6.port if host.startswith("[") else v4.port
            call, = decide(test_dir, [f"http://{host}:{port}/latest/meta-data"], [{"host": f"{host}:{port}", "http": True}])
            assert refused(call), (host, call)
        assert v4.connections == 0 and v6.connections == 0 and v4.got == v6.got == []
        # The servers do answer where it is allowed.
        call, = decide(test_dir, [f"http://localhost:{v4.port}/x"],
                       [{"host": f"localhost:{v4.port}", "http": True, "addresses": ["loopback"]}])
        assert call["status"] == "answered" and len(v4.got) == 1


@pytest.mark.parametrize("kind, host", [("private", "10.255.255.1"), ("link-local", "169.254.255.1"),
                                        ("metadata", "169.254.169.254"), ("loopback", "127.255.255.1")])
def test_a_kind_of_address_is_allowed_by_its_name_only(binary, test_dir, kind, host):
    def why(*addresses):
        entry = {"host": f"{host}:9", "http": True, "addresses": addresses} if addresses else {"host": f"{host}:9", "http": True}
        call, = decide(test_dir, [f"http://{host}:9/x"], [entry])
        return call

    others = [k for k in ("private", "link-local", "metadata", "loopback") if k != kind]
    assert refused(why(*others))
    assert not refused(why(kind))


NOTATIONS = ["2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "127.0.0.01",
             "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[0:0:0:0:0:ffff:169.254.169.254]", "localhost.",
             "127.0.0.1.", "user@127.0.0.1", "api.example.com@127.0.0.1", "api.example.com:443@127.0.0.1",
             "api.example.com#@127.0.0.1", "api.example.com\\@127.0.0.1", "127%2e0.0.1", "[fe80::1%25eth0]", "\u24db\u24de\u24d2alhost",
             "127\u30020.0.1"]


@pytest.mark.parametrize("host", NOTATIONS)
def test_odd_ways_to_write_a_host_are_refused_by_policy_and_settings(binary, test_dir, host):
    content = policy("orders", tools={"t": {"why": "w", "http": f"http://{host}:9/x"}}, budget=TOOLS_BUDGET)
    (test_dir / "p.cfg").write_text(libconfig.dumps(content))
    done = subprocess.run([binary, "check", test_dir / "p.cfg"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 78 and "p.cfg:" in done.stderr and "tools.t.http" in done.stderr, done.stderr
    (test_dir / "s.cfg").write_text(libconfig.dumps({
        "kafka": {"brokers": "127.0.0.1:1", "start": "earliest", "topics": ({"name": "orders"},)},
        "policies": {"dir": str(test_dir / "none")}, "tools": {"hosts": ({"host": f"{host}:9", "http": True},)}}))
    done = subprocess.run([binary, "check", "-c", test_dir / "s.cfg"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 78 and "tools.hosts" in done.stderr, done.stderr


def test_a_policy_cannot_name_a_host_that_the_operator_does_not_allow(binary, test_dir):
    (test_dir / "policies").mkdir()
    content = policy("orders", tools={"t": {"why": "w", "http": "https://other.example.com/x"}}, budget=TOOLS_BUDGET)
    (test_dir / "policies" / "p.cfg").write_text(libconfig.dumps(content))
    (test_dir / "s.cfg").write_text(libconfig.dumps({
        "kafka": {"brokers": "127.0.0.1:1", "start": "earliest", "topics": ({"name": "orders"},)},
        "policies": {"dir": str(test_dir / "policies")}, "tools": {"hosts": ({"host": "api.example.com"},)}}))
    done = subprocess.run([binary, "check", "-c", test_dir / "s.cfg"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 78
    assert "p.cfg:" in done.stderr and "do not allow other.example.com port 443" in done.stderr, done.stderr


def test_a_redirect_is_not_followed(binary, test_dir):
    with ToolServer(lambda path: {"inside": True}) as inside:
        for status in (301, 302, 303, 307, 308):
            with ToolServer(lambda path: Answer(status=status, headers={"location": f"http://127.0.0.1:{inside.port}/x"})) as outer:
                call, = decide(test_dir, [f"http://127.0.0.1:{outer.port}/"],
                               [{"host": f"127.0.0.1:{server.port}", "http": True, "addresses": ["loopback"]}
                                for server in (outer, inside)])
                assert call["status"] == "failed" and "points to another place" in call["why"]
                assert len(outer.got) == 1
    assert inside.connections == 0


def test_a_name_that_changes_its_mind_gets_nowhere(binary, test_dir):
    """The first look-up gives an address that is allowed, the second one that is not; the same server would answer on both."""
    library = test_dir / "resolve.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library, paths.ROOT / "tests/support/preload/resolve.c", "-ldl"],
                   check=True, timeout=60)
    with ToolServer(lambda path: {"ok": True}, host="0.0.0.0", keep_alive=False) as server:
        url = f"http://tools.test:{server.port}/x"
        entry = {"host": f"tools.test:{server.port}", "http": True, "addresses": ["loopback"]}
        env = {"LD_PRELOAD": str(library), "RESOLVE_NAME": "tools.test"}
        for second in ["0.0.0.0", *[a for a in own_addresses() if not a.startswith("[")]]:
            before = server.connections
            first_call, second_call = decide(test_dir, [url, url], [entry], {**env, "RESOLVE_TO": f"127.0.0.1,{second}"})
            assert first_call["status"] == "answered"
            assert refused(second_call), (second, second_call)
            assert server.connections == before + 1
        # Where nothing is allowed, the name's address decides at the first look-up too.
        call, = decide(test_dir, [url], [{"host": f"tools.test:{server.port}", "http": True}], {**env, "RESOLVE_TO": "127.0.0.1"})
        assert refused(call)


def test_the_environments_proxy_is_not_used(binary, test_dir):
    with ToolServer(lambda path: {"by": "proxy"}) as proxy, ToolServer(lambda path: {"by": "host"}) as server:
        env = {name: f"http://127.0.0.1:{proxy.port}" for name in ("http_proxy", "https_proxy", "all_proxy", "ALL_PROXY")}
        call, = decide(test_dir, [f"http://127.0.0.1:{server.port}/"],
                       [{"host": f"127.0.0.1:{server.port}", "http": True, "addresses": ["loopback"]}], {**env, "no_proxy": ""})
        assert call["result"] == '{"by":"host"}'
    assert proxy.connections == 0
