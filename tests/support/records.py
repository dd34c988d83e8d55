"""What a published record must look like, judged by python3-jsonschema and by nothing of the project's own.

The schemas are the published ones in schemas/: what a data team would load.
"""

import functools
import json
import re

import jsonschema

from . import paths

_RFC3339_MS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@functools.lru_cache(maxsize=None)
def _validator(name):
    schema = json.loads((paths.SCHEMAS / name).read_text())
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    kind.check_schema(schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER if hasattr(kind, "FORMAT_CHECKER")
                else jsonschema.FormatChecker())


def validate(schema, value):
    errors = sorted(_validator(schema).iter_errors(value), key=lambda error: list(error.path))
    assert not errors, f"not valid by {schema}: " + "; ".join(
        f"/{'/'.join(map(str, error.path))}: {error.message[:200]}" for error in errors[:5])


def strict_json(raw):
    """JSON without the liberties that Python's parser takes: no NaN, no duplicate names, UTF-8."""
    def pairs(items):
        names = [name for name, _ in items]
        assert len(names) == len(set(names)), f"duplicate names in {sorted(names)}"
        return dict(items)

    def constant(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(raw.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)


def _check_cloudevent(record, value):
    assert record.header("ce_specversion") == "1.0"
    assert record.header("ce_id") == value["decision_id"]
    assert record.header("ce_source"), "a CloudEvent has a source"
    assert record.header("ce_type"), "a CloudEvent has a type"
    assert record.header("content-type") == "application/json"
    assert _SHA256.match(value["decision_id"]) and _SHA256.match(value["policy_hash"])


def check_decision(record):
    """A decision, review or shadow record; returns its value."""
    value = strict_json(record.value)
    validate("decision.v1.json", value)
    _check_cloudevent(record, value)
    assert _RFC3339_MS.match(value["time"]) and record.header("ce_time") == value["time"]
    assert record.key.decode() == value["key"]
    if value["params"] is None:
        assert value["params_json"] is None
    else:
        assert strict_json(value["params_json"].encode()) == value["params"]
    return value


def check_audit(record):
    value = strict_json(record.value)
    validate("audit.v1.json", value)
    _check_cloudevent(record, value)
    return value


def check_dead_letter(record):
    """Returns the headers that verdict added, as a dict without the prefix."""
    own = {name: record.header(name) for name, _ in record.headers if name.startswith("verdict-")}
    validate("dead-letter.v1.json", own)
    assert own["verdict-reason"].strip(), "a reason a person can act on"
    return {name.removeprefix("verdict-"): value for name, value in own.items()}


def event_position(decision):
    """(topic, partition, offset) of the event that a decision is about."""
    event = decision["event"]
    return event["topic"], event["partition"], event["offset"]


def dead_letter_position(headers):
    return headers["topic"], int(headers["partition"]), int(headers["offset"])
