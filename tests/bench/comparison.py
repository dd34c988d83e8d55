"""The comparison: the same job as a plain asyncio worker, at-least-once. Run by run.py, as

    comparison.py BROKERS GROUP IN OUT AUDIT REDIS_PORT MODEL_URL IN_FLIGHT REQUEST_FILE SCHEMAS CLIENT

What a good backend programmer writes in an afternoon with confluent-kafka, an HTTP client, redis and jsonschema: events of one key one
after the other, many at once, offsets stored when everything before them is delivered. It does what the worker does for an event
(check by the same schema files, read context, ask, judge, decision and audit records with hashes). The rules are Python code, not
a policy file, and there is no redaction, no dead letter, no budget, no repair and no metric: all of that is in its favour.

REQUEST_FILE is a request that the worker sent: its system message and schema are sent here too, so that both ask alike. SCHEMAS is
the folder of the published schemas, or "-" to check nothing, which shows how much of the difference is jsonschema's. CLIENT is
aiohttp, the fastest there is, or httpx, which the model providers' own SDKs use.

Prints "ready" once it has its partitions: what it takes until then is not measured.
"""

import asyncio
import collections
import hashlib
import json
import pathlib
import sys
import time

import confluent_kafka
import jsonschema
import redis.asyncio

TYPES = {"months_active": int, "has_backup_method": lambda text: text == "true"}


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
        self.schemas = schemas
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
        if before is not None:
            await asyncio.wait([before])
        event = json.loads(message.value())
        self.check("event", event)
        invoice = event["data"]["object"]
        context = await self.read_context(invoice["subscription"])
        user = self.prompt(invoice, context)
        answer = await self.ask(user)
        content = answer["choices"][0]["message"]["content"]
        proposal = json.loads(content)
        rules = self.judge(invoice, context, proposal)
        self.publish(message, event, invoice, context, user, content, proposal, rules, answer)
        key = message.key()
        if self.last_of_key.get(key) is asyncio.current_task():
            del self.last_of_key[key]
        self.running -= 1

    def check(self, kind, value):
        if kind in self.schemas and not self.schemas[kind].is_valid(value):
            raise ValueError(f"{kind} does not fit its schema")

    async def read_context(self, subscription):
        sub = await self.redis.hgetall(f"sub:{subscription}")
        context = {name: TYPES.get(name, str)(value) for name, value in sub.items()}
        self.check("context", context)
        return context

    @staticmethod
    def prompt(invoice, context):
        shown = {name: invoice[name] for name in
                 ("amount_due", "currency", "attempt_count", "next_payment_attempt", "billing_reason")}
        return (f"Facts from our own systems:\n{json.dumps({'sub': context})}\n\nData from outside:\n"
                f"{json.dumps({'event': {'data': {'object': shown}}})}\n")

    async def ask(self, user):
        body = {**self.request, "messages": [self.request["messages"][0], {"role": "user", "content": user}]}
        return await self.client.post(self.url, body)

    @staticmethod
    def judge(invoice, context, proposal):
        params = proposal["params"].get("retry", proposal["params"])
        rules = {
            "ceiling": invoice["attempt_count"] < 4,
            "live": context["last_decline"] not in ("lost_card", "stolen_card", "pickup_card"),
            "backup": params["method"] != "backup" or context["has_backup_method"],
            "after_hours": isinstance(params["after_hours"], int) and 1 <= params["after_hours"] <= 168,
            "method": params["method"] in ("same", "backup"),
        }
        if proposal["action"] != "retry" or not all(rules.values()):
            raise ValueError(f"refused: {rules}")
        return rules

    def publish(self, message, event, invoice, context, user, content, proposal, rules, answer):
        params = proposal["params"].get("retry", proposal["params"])
        now_ms = int(time.time() * 1000)
        event_hash = hashlib.sha256(message.value()).hexdigest()
        decision_id = hashlib.sha256(f"{message.topic()}|{message.partition()}|{message.offset()}|{event_hash}".encode()).hexdigest()
        decision = {
            "decision_id": decision_id, "time_ms": now_ms, "policy_id": "billing.failed_payment", "policy_version": 1,
            "status": "decided", "decided_by": "model", "action": proposal["action"], "key": invoice["customer"],
            "confidence": proposal["confidence"], "rationale": proposal["rationale"], "params": params,
            "event": {"id": event["id"], "type": event["type"], "topic": message.topic(), "partition": message.partition(),
                      "offset": message.offset()},
            "evidence": proposal["evidence"],
            "rules": [{"id": name, "verdict": "pass" if good else "fail"} for name, good in rules.items()],
            "usage": {"input_tokens": answer["usage"]["prompt_tokens"], "output_tokens": answer["usage"]["completion_tokens"]},
        }
        value = json.dumps(decision, separators=(",", ":")).encode()
        reasoning = json.dumps({"system": self.request["messages"][0]["content"], "user": user, "answer": content})
        shown = json.dumps(context)
        audit = {"decision": decision, "reasoning": json.loads(reasoning), "context": context, "event_sha256": event_hash,
                 "parts": [hashlib.sha256(part).hexdigest() for part in (value, reasoning.encode(), shown.encode())]}
        headers = [("ce_specversion", b"1.0"), ("ce_id", decision_id.encode()), ("ce_type", b"verdict.decision.v1"),
                   ("content-type", b"application/json")]
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

        self.producer.produce(self.out, value, message.key(), headers=headers, on_delivery=delivered)
        self.producer.produce(self.audit, json.dumps(audit, separators=(",", ":")).encode(), message.key(), headers=headers,
                              on_delivery=delivered)


async def main(brokers, group, topic, out, audit, redis_port, url, in_flight, request_file, schemas, client):
    request = json.loads(pathlib.Path(request_file).read_text())
    files = {} if schemas == "-" else {"event": "events/stripe.invoice.json", "context": "context/subscription.json"}
    validators = {kind: jsonschema.Draft202012Validator(json.loads(pathlib.Path(schemas, name).read_text()))
                  for kind, name in files.items()}
    await Worker(brokers, group, topic, out, audit, int(redis_port), url, int(in_flight), request, validators,
                 CLIENTS[client]).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
