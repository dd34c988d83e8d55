"""The shipped policies one event at a time: their own cases as material, and `verdict decide` to run them."""

import dataclasses
import json
import subprocess

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
    """The policy's first case that one plain answer of a model decides."""
    for case in cases(policy):
        expect, answers = case.body["expect"], case.body.get("model", [])
        if expect.get("status") == "decided" and len(answers) == 1 and isinstance(answers[0], dict) \
                and {"action", "params"} <= answers[0].keys():
            return case
    raise AssertionError(f"{policy}: no case is decided by one answer of a model")


def settings(**models):
    """Settings for `verdict decide`: models, and a broker that is never asked."""
    return libconfig.dumps({"kafka": {"brokers": "127.0.0.1:1", "start": "earliest", "topics": ({"name": "events"},)},
                            "models": models, "policies": {"dir": str(paths.POLICIES)}})


@dataclasses.dataclass(frozen=True)
class Result:
    decision: dict
    audit: dict
    stderr: str


def decide(directory, case, models, event=None, env=None, timeout=60):
    """Decides the case's event with these models, in a process of its own."""
    files = {"event.json": event or case.body["event"], "context.json": case.body.get("context", {})}
    for name, value in files.items():
        (directory / name).write_text(json.dumps(value))
    (directory / "settings.cfg").write_text(settings(**models))
    done = subprocess.run(
        [str(paths.BINARY), "decide", str(case.policy), "event.json", "--context", "context.json", "-c", "settings.cfg", "--json"],
        cwd=directory, capture_output=True, text=True, timeout=timeout, env=env)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    assert done.stdout.startswith('{"decision_id"'), done.stdout[:2000]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    audit, = [line for line in lines if "record_sha256" in line]
    decision, = [line for line in lines if "record_sha256" not in line]
    return Result(decision, audit, done.stderr)


def proposal(schema, answer):
    """The plain answer in the form that the schema asks for: strict schemas have a member of params for each action."""
    request = {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    others = {name: value for name, value in answer.items() if name not in ("action", "params")}
    return model.answer_to(request, answer["action"], answer["params"], **others)
