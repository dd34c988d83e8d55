"""The comparison: the same job as a plain asyncio worker, at-least-once. Run by run.py, as

    comparison.py BROKERS GROUP IN OUT AUDIT REDIS_PORT MODEL_URL IN_FLIGHT REQUEST_FILE SCHEMAS CLIENT

What a good backend programmer writes in a few days with confluent-kafka, an HTTP client, redis and jsonschema: events
of one key one after the other, many at once, offsets stored when everything before them is delivered. It does what the
worker does for an event (check by the same schema files, read context, ask, judge) and both publish the same documents:
the request, the decision record, the audit record and their headers have the same members with the same meaning, and
the same parts of them are hashed in the same way. run.py compares nothing before it has seen that.

What this one does without is all in its favour: no exactly-once, no journal of answers, no cleaning of text, no
redaction, no limits, no budget, no deadline, no retry, no repair, no clamping, no fallback, no default for missing
context, no dead letter, no metric. The rules are Python code, not a policy file, and only those of retry are there;
beside them, nothing checks the answer. Whatever goes wrong leaves its event undecided. cel_steps is 0, as there is no
CEL, and less goes into decision_id.

REQUEST_FILE is a request that the worker sent: its system message, schema and choices are sent here too, so that both
ask alike. SCHEMAS is the folder of the published schemas, or "-" to check nothing, which shows how much of the
difference is jsonschema's. CLIENT is aiohttp, the fastest there is, or httpx, which the model providers' own SDKs use.

Prints "ready" once it has its partitions: what it takes until then is not measured.
"""

import asyncio
import collections
import datetime
import hashlib
import hmac
import json
import pathlib
import secrets
import socket
import sys
import time

import confluent_kafka
import jsonschema
import redis.asyncio

POLICY, VERSION, SOURCE = "billing.failed_payment", 1, "/verdict"
WORKER = socket.gethostname()
MARKER_KEY = secrets.token_bytes(32)
TYPES = {"months_active": int, "has_backup_method": lambda text: text == "true"}
SHOWN = ("amount_due", "currency", "attempt_count", "next_payment_attempt", "billing_reason")
CITABLE = {"/event", "/event/data", "/event/data/object", *(f"/event/data/object/{name}" for name in SHOWN),
           "/sub", *(f"/sub/{name}" for name in ("plan", "months_active", "last_decline", "has_backup_method"))}
HARD = ("lost_card", "stolen_card", "pickup_card", "revocation_of_authorization")

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def ms_since(begun):
    return int((time.monotonic() - begun) * 1000)


def sized(data):
    """In front of each part of a hash goes its length."""
    return len(data).to_bytes(8, "big") + data


class Progress:
    """Offsets of a partition that are done; the next to store is the lowest that is not."""

    def __init__(self):
        self.open = collections.OrderedDict()

    def begin(self, offset):
        self.open[offset] = False

    def done(self, offset):
        """The offset to store, or None."""
        self.open[offset] = True
        upto = None
        while self.open and next(iter(self.open.values())):
            upto = self.open.popitem(last=False)[0] + 1
        return upto


class Aiohttp:
    def __init__(self, in_flight):
        import aiohttp  # each run needs one of the two
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight),
                                             timeout=aiohttp.ClientTimeout(total=120))

    async def post(self, url, body):
        async with self.session.post(url, json=body) as response:
            response.raise_for_status()
            return await response.json()


class Httpx:
    def __init__(self, in_flight):
        import httpx
        self.client = httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=in_flight,
                                                                         max_keepalive_connections=in_flight))

    async def post(self, url, body):
        response = await self.client.post(url, json=body)
        response.raise_for_status()
        return response.json()


CLIENTS = {"aiohttp": Aiohttp, "httpx": Httpx}


class Worker:
    def __init__(self, brokers, group, topic, out, audit, redis_port, url, in_flight, request, schemas, client):
        self.topic, self.out, self.audit = topic, out, audit
        self.url = url + "/chat/completions"
        self.request = request
        self.system = request["messages"][0]
        proposal = request["response_format"]["json_schema"]["schema"]["properties"]
        self.choices = {action: either["anyOf"][0]["properties"]
                        for action, either in proposal["params"]["properties"].items()}
        self.choices_json = encode(self.choices)
        self.schemas = schemas
        content = [self.system, proposal, {kind: validator.schema for kind, validator in schemas.items()}]
        self.policy_hash = hashlib.sha256(encode(content).encode()).hexdigest()
        self.in_flight = in_flight
        self.running = 0
        self.progress = collections.defaultdict(Progress)
        self.last_of_key = {}
        self.consumer = confluent_kafka.Consumer({
            "bootstrap.servers": brokers, "group.id": group, "auto.offset.reset": "earliest",
            "enable.auto.commit": True, "auto.commit.interval.ms": 1000, "enable.auto.offset.store": False})
        self.producer = confluent_kafka.Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "linger.ms": 5})
        self.redis = redis.asyncio.Redis(connection_pool=redis.asyncio.BlockingConnectionPool(
            host="127.0.0.1", port=redis_port, decode_responses=True, max_connections=16, timeout=60))
        self.client_class = client
        self.client = None

    async def run(self):
        loop = asyncio.get_running_loop()
        self.client = self.client_class(self.in_flight)
        self.consumer.subscribe([self.topic], on_assign=lambda *_: print("ready", flush=True))
        asyncio.create_task(self.poll_producer())
        while True:
            room = self.in_flight - self.running
            if room <= 0:
                await asyncio.sleep(0.002)
                continue
            for message in await loop.run_in_executor(None, self.consumer.consume, min(room, 500), 0.05):
                if message.error():
                    continue
                self.running += 1
                self.progress[message.partition()].begin(message.offset())
                key = message.key()
                before = self.last_of_key.get(key)
                task = asyncio.create_task(self.handle(message, before))
                self.last_of_key[key] = task

    async def poll_producer(self):
        while True:
            self.producer.poll(0)
            await asyncio.sleep(0.005)

    async def handle(self, message, before):
        clock_ms, begun = time.time_ns() // 1_000_000, time.monotonic()
        if before is not None:
            await asyncio.wait([before])
        event = json.loads(message.value())
        self.check("event", event)
        event_hash = hashlib.sha256(message.value()).hexdigest()
        decision_id = hashlib.sha256(
            f"{message.topic()}|{message.partition()}|{message.offset()}|{event_hash}".encode()).hexdigest()
        invoice = event["data"]["object"]
        context = await self.read_context(invoice["subscription"])
        context_json = encode({"sub": context})
        shown = {"event": {"data": {"object": {name: invoice[name] for name in SHOWN}}}}
        user = self.prompt(decision_id, context_json, shown)
        asked = time.monotonic()
        answer = await self.ask(user)
        model_ms = ms_since(asked)
        content = answer["choices"][0]["message"]["content"]
        proposal = json.loads(content)
        proposal["params"] = proposal["params"].get(proposal["action"], proposal["params"])
        usage = {
            "model": "main", "provider": "openai", "model_calls": 1, "tool_calls": 0, "repairs": 0,
            "input_tokens": answer["usage"]["prompt_tokens"], "output_tokens": answer["usage"]["completion_tokens"],
            "model_ms": model_ms, "total_ms": ms_since(begun),
        }
        decision = self.decision(message, event, decision_id, proposal, self.judge(invoice, context, proposal), usage)
        reasoning = self.reasoning(user, content, decision, {**shown, "sub": context})
        value = encode(decision).encode()
        parts = {"decision": value, "reasoning": encode(reasoning).encode(), "context": context_json.encode(),
                 "changes": b""}
        self.publish(message, decision, value, self.audit_value(decision, clock_ms, event_hash, parts))
        key = message.key()
        if self.last_of_key.get(key) is asyncio.current_task():
            del self.last_of_key[key]
        self.running -= 1

    def check(self, kind, value):
        if kind in self.schemas and not self.schemas[kind].is_valid(value):
            raise ValueError(f"{kind} does not fit its schema")

    async def read_context(self, subscription):
        sub = await self.redis.hgetall(f"sub:{subscription}")
        context = {name: TYPES.get(name, str)(sub[name]) for name in sorted(sub)}
        self.check("context", context)
        return context

    def prompt(self, decision_id, context_json, shown):
        marker = hmac.digest(MARKER_KEY, f"{decision_id}|1".encode(), "sha256").hex()[:32]
        return (f"Facts from our own systems:\n{context_json}\n\n"
                "Data from outside, then the actions and choices possible for this event:\n"
                f"<<<{marker}\n{encode(shown)}\n{self.choices_json}\n{marker}>>>\n")

    async def ask(self, user):
        body = {**self.request, "messages": [self.system, {"role": "user", "content": user}]}
        return await self.client.post(self.url, body)

    def judge(self, invoice, context, proposal):
        attempts, params = invoice["attempt_count"], proposal["params"]
        hours, method = params["after_hours"], params["method"]
        checked = [
            ("action.declared", proposal["action"] in self.choices, None),
            ("action.enabled", True, None),
            ("params.known", params.keys() == {"after_hours", "method"}, None),
            ("params.after_hours", isinstance(hours, int) and 1 <= hours <= 168, min(hours - 1, 168 - hours)),
            ("params.method", method in ("same", "backup"), None),
            ("evidence", all(pointer in CITABLE for pointer in proposal["evidence"]), None),
            ("ceiling", attempts < 4, 4 - attempts),
            ("live", context["last_decline"] not in HARD, None),
            ("backup", method != "backup" or context["has_backup_method"], None),
        ]
        if proposal["action"] != "retry" or not all(good for _, good, _ in checked):
            raise ValueError(f"refused: {proposal['action']}, {checked}")
        return [{"id": name, "verdict": "pass", "headroom": headroom} for name, _, headroom in checked]

    def decision(self, message, event, decision_id, proposal, rules, usage):
        time_ms = time.time_ns() // 1_000_000
        at = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.timezone.utc)
        return {
            "decision_id": decision_id, "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "time_ms": time_ms, "source": SOURCE, "policy_id": POLICY, "policy_version": VERSION,
            "policy_hash": self.policy_hash, "mode": "enforce", "status": "decided", "decided_by": "model",
            "action": proposal["action"], "key": event["data"]["object"]["customer"], "correlation_id": None,
            "round": None, "supersedes": None, "valid_until_ms": None, "confidence": proposal["confidence"],
            "rationale": proposal["rationale"], "degraded_reason": None, "cost_microusd": 0, "worker": WORKER,
            "params": proposal["params"], "params_json": encode(proposal["params"]),
            "event": {
                "id": event["id"], "type": event["type"], "source": message.topic(), "subject": None,
                "time_ms": event["created"] * 1000, "topic": message.topic(), "partition": message.partition(),
                "offset": message.offset(),
            },
            "evidence": proposal["evidence"], "rules": rules, "limits": [], "usage": usage,
        }

    def reasoning(self, user, content, decision, shown):
        usage = decision["usage"]
        step = {
            "step": 1,
            "messages": [{"role": "system", "text": self.system["content"]}, {"role": "user", "text": user}],
            "kind": "text", "answer": content, "answer_bytes": len(content.encode()), "tools": [], "unreadable": None,
            "judged": "accept", "rules": decision["rules"], "model": usage["model"], "provider": usage["provider"],
            "input_tokens": usage["input_tokens"], "output_tokens": usage["output_tokens"], "cost_microusd": 0,
            "model_ms": usage["model_ms"], "from_journal": False,
        }
        return {
            "steps": [step], "limits": {"tries": [], "holds": []}, "shown": shown, "cuts": [], "redacted": 0,
            "source": None, "reason_text": None, "journal_hits": 0, "cost_microusd": 0, "cel_steps": 0,
        }

    @staticmethod
    def audit_value(decision, clock_ms, event_hash, parts):
        """The audit record. Its parts are put in as the texts that were hashed: each is encoded once."""
        head = {
            "decision_id": decision["decision_id"], "time_ms": decision["time_ms"], "clock_ms": clock_ms,
            "policy_id": POLICY, "policy_version": VERSION, "policy_hash": decision["policy_hash"],
            "event_sha256": event_hash,
        }
        entries = []
        whole = hashlib.sha256()
        for name, text in parts.items():
            digest = hashlib.sha256(text)
            whole.update(sized(name.encode()) + sized(digest.digest()))
            entries.append({"name": name, "sha256": digest.hexdigest(), "bytes": len(text), "omitted": False})
        tail = {"parts": entries, "record_sha256": whole.hexdigest()}
        members = b"".join(b'"%s":%s,' % (name.encode(), text or b"null") for name, text in parts.items())
        return b"%s,%s%s" % (encode(head)[:-1].encode(), members, encode(tail)[1:].encode())

    @staticmethod
    def headers(decision, record_type):
        return [
            ("ce_specversion", "1.0"), ("ce_id", decision["decision_id"]), ("ce_source", SOURCE),
            ("ce_type", record_type), ("ce_time", decision["time"]), ("ce_policyid", POLICY),
            ("ce_policyrev", str(VERSION)), ("content-type", "application/json"), ("verdict-hops", "1"),
        ]

    def publish(self, message, decision, decision_value, audit_value):
        left = 2

        def delivered(error, _):
            nonlocal left
            if error is not None:
                raise SystemExit(f"not delivered: {error}")
            left -= 1
            if left == 0:
                upto = self.progress[message.partition()].done(message.offset())
                if upto is not None:
                    self.consumer.store_offsets(offsets=[
                        confluent_kafka.TopicPartition(message.topic(), message.partition(), upto)])

        self.producer.produce(self.out, decision_value, message.key(), on_delivery=delivered,
                              headers=self.headers(decision, f"verdict.decision.{POLICY}.{decision['action']}"))
        self.producer.produce(self.audit, audit_value, message.key(), on_delivery=delivered,
                              headers=self.headers(decision, "verdict.audit.v1"))


async def main(brokers, group, topic, out, audit, redis_port, url, in_flight, request_file, schemas, client):
    request = json.loads(pathlib.Path(request_file).read_text())
    files = {} if schemas == "-" else {"event": "events/stripe.invoice.json", "context": "context/subscription.json"}
    validators = {kind: jsonschema.Draft202012Validator(json.loads(pathlib.Path(schemas, name).read_text()))
                  for kind, name in files.items()}
    await Worker(brokers, group, topic, out, audit, int(redis_port), url, int(in_flight), request, validators,
                 CLIENTS[client]).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
