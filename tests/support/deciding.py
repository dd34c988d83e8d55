"""The shipped policies one event at a time: their own cases as material, and `verdict decide` to run them."""

import dataclasses
import json
import re
import shutil
import subprocess
import time

from . import libconfig, model, paths


@dataclasses.dataclass(frozen=True)
class Case:
    """One case of one policy. event, context and the like are as the cases file has them."""

    policy: object  # path of the .cfg
    body: dict

    def __str__(self):
        return f"{self.policy.stem}: {self.body['name']}"


def policies(folder=paths.POLICIES):
    """Every policy with cases beside it, in an order that stays."""
    return [path for path in sorted(folder.rglob("*.cfg")) if path.with_suffix(".cases.json").exists()]


def cases(policy):
    """A policy's cases that stand for themselves; those that change another one are left out."""
    return [Case(policy, body) for body in json.loads(policy.with_suffix(".cases.json").read_text())
            if isinstance(body, dict) and isinstance(body.get("event"), dict)]


def decided_by_a_model(policy):
    """The policy's first case that one plain answer of a model decides; if there is one, with notes in its memory."""
    found = [case for case in cases(policy) if case.body["expect"].get("status") == "decided"
             and len(case.body.get("model", [])) == 1 and isinstance(case.body["model"][0], dict)
             and {"action", "params"} <= case.body["model"][0].keys()]
    assert found, f"{policy}: no case is decided by one answer of a model"
    return next((case for case in found if case.body.get("memory")), found[0])


NOTES = "notes:customer"  # what the tool of with_a_tool() reads


def with_a_tool(directory, policy, deadline_ms=10_000):
    """A copy of a policy with a tool added: `notes`, which reads NOTES. The model may call it twice."""
    shutil.copytree(paths.SCHEMAS, directory / "schemas", dirs_exist_ok=True)
    copy = directory / policy.relative_to(paths.ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    text, number = re.subn(r"(\nbudget *= *\{)", "\ntools = { notes = { why = \"What colleagues wrote.\"; redis = \"HGETALL notes:{args.about}\";"
                           " args = { about = { type = \"string\"; enum = [\"customer\", \"order\"]; }; }; max_calls = 2; max_bytes = 32768; }; };"
                           "\n\\1 max_tool_calls = 2; ", policy.read_text())
    assert number == 1
    text = re.sub(r"deadline_ms = \d+", f"deadline_ms = {deadline_ms}", text)
    copy.write_text(re.sub(r"max_model_calls = \d+", "max_model_calls = 4", text))
    if policy.with_suffix(".prompt.md").exists():
        shutil.copy(policy.with_suffix(".prompt.md"), copy.parent)
    return copy


def just_now(event):
    """The event as if it had just happened: some policies skip what is old."""
    return {**event, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())} if "time" in event else event


def settings(redis=None, **models):
    """Settings for `verdict decide`: models, and a broker that is never asked."""
    return libconfig.dumps({"kafka": {"brokers": "127.0.0.1:1", "start": "earliest", "topics": ({"name": "events"},)},
                            "redis": {"address": redis} if redis else None,
                            "models": models, "policies": {"dir": str(paths.POLICIES)}})


@dataclasses.dataclass(frozen=True)
class Result:
    decision: dict
    audit: dict
    stderr: str


def decide(directory, case, models=None, event=None, env=None, answers=(), redis=None, timeout=60):
    """Decides the case's event in a process of its own; with these models, or with raw answers in the place of one.

    The context is the case's; with redis, an address, it is read there, and tools read there too.

    None when the policy does not match the event, or it is a dead letter.
    """
    files = {"event.json": json.dumps(just_now(event if event is not None else case.body["event"])),
             "context.json": json.dumps(case.body.get("context", {}))}
    argv = [str(paths.BINARY), "decide", str(case.policy), "event.json", "--json"]
    if redis is None:
        argv += ["--context", "context.json"]
    if models is not None:
        files["settings.cfg"] = settings(redis, **models)
        argv += ["-c", "settings.cfg"]
    for answer in answers:
        argv += ["--answer", answer if isinstance(answer, str) else json.dumps(answer)]
    for name, text in files.items():
        (directory / name).write_text(text)
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=timeout, env=env)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    if not done.stdout.startswith('{"decision_id"'):
        return None
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    audit, = [line for line in lines if "record_sha256" in line]
    decision, = [line for line in lines if "record_sha256" not in line]
    return Result(decision, audit, done.stderr)


def proposal(schema, answer):
    """The plain answer in the form that the schema asks for: strict schemas have a member of params for each action."""
    request = {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    others = {name: value for name, value in answer.items() if name not in ("action", "params")}
    return model.answer_to(request, answer["action"], answer["params"], **others)
