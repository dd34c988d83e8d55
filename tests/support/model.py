"""Models for the worker to ask: the project's own simulator, and a scripted server for exotic behaviour.

ScriptedModel speaks OpenAI's chat completions and Anthropic's messages over HTTP/1.1 and knows nothing of the project: what it answers is a
function of the request it got. It is the independent peer; `verdict model-sim` is the one that users run.
"""

import dataclasses
import http.server
import json
import re
import socket
import threading
import time
import urllib.request

from . import paths
from .processes import Process, free_port, wait_until


# --- answers ------------------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Reply:
    """One HTTP answer. body: bytes as they are, anything else as JSON."""

    body: object = b""
    status: int = 200
    headers: dict = dataclasses.field(default_factory=dict)
    delay_s: float = 0.0
    reset: bool = False        # close with RST instead of answering
    truncate_at: int = None    # announce the whole length, send only so many bytes, close


def completion(content=None, finish_reason="stop", tool_calls=None, model="scripted", prompt_tokens=100,
               completion_tokens=20, **message):
    """A chat completion. content: text as it is, anything else as JSON text."""
    if content is not None and not isinstance(content, str):
        content = json.dumps(content)
    message = {"role": "assistant", "content": content, "refusal": None, **message}
    if tool_calls is not None:
        message["tool_calls"] = tool_calls
    return {
        "id": "chatcmpl-scripted", "object": "chat.completion", "created": int(time.time()), "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
                  "total_tokens": prompt_tokens + completion_tokens},
    }


def message(*content, stop_reason=None, model="scripted"):
    """Anthropic's form of an answer. content: text, or blocks as the API has them."""
    blocks = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    called = any(block["type"] == "tool_use" for block in blocks)
    return {
        "id": "msg_scripted", "type": "message", "role": "assistant", "model": model, "content": blocks,
        "stop_reason": stop_reason or ("tool_use" if called else "end_turn"), "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": 20},
    }


def calling(request, *calls, text=None):
    """An answer that calls tools, in the form of the API that the request is of. calls: (name, arguments)."""
    if is_anthropic(request):
        blocks = [{"type": "tool_use", "id": f"toolu_{i}", "name": name, "input": arguments}
                  for i, (name, arguments) in enumerate(calls)]
        return message(*([text] if text else []), *blocks)
    return completion(text, "tool_calls", [
        {"id": f"call_{i}", "type": "function",
         "function": {"name": name, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}}
        for i, (name, arguments) in enumerate(calls)])


def error(status, code, message="scripted error", headers=None, kind="scripted_error"):
    return Reply({"error": {"message": message, "type": kind, "code": code, "param": None}}, status, headers or {})


# --- reading what was asked ---------------------------------------------------------------------------------------

def is_anthropic(request):
    return "max_tokens" in request and "response_format" not in request


def offered_tools(request):
    """Names of the tools that may be called, without the proposal's own; none where the choice forbids it."""
    choice = request.get("tool_choice") or {}
    if choice == "none" or (isinstance(choice, dict) and choice.get("type") == "none"):
        return []
    names = [tool.get("function", tool)["name"] for tool in request.get("tools", [])]
    return [name for name in names if name != "proposal"]


def tool_results(request):
    """What the tools answered so far: [(text, failed)], in order. OpenAI's form has no sign of failure: None."""
    results = []
    for turn in request.get("messages", []):
        if turn["role"] == "tool":
            results.append((turn["content"], None))
        for part in turn["content"] if isinstance(turn.get("content"), list) else []:
            if part["type"] == "tool_result":
                results.append((part["content"], part.get("is_error", False)))
    return results


def system_text(request):
    system = request.get("system")
    return system if system is not None else next(m["content"] for m in request["messages"] if m["role"] == "system")


def asked_schema(request):
    """The JSON Schema the answer must follow, wherever the request carries it; None if it carries none."""
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema":
        return form["json_schema"].get("schema")
    if "schema" in form:
        return form["schema"]
    for tool in request.get("tools", []):
        if tool.get("name") == "proposal":
            return tool["input_schema"]
        if tool.get("function", {}).get("name") == "proposal":
            return tool["function"]["parameters"]
    return None


def asked_text(request):
    """All the text of the request's messages, for tests that look for something in it."""
    parts = []
    for message in request.get("messages", []):
        content = message.get("content")
        if isinstance(content, str):
            parts.append(content)
        for part in content if isinstance(content, list) else []:
            parts.append(part.get("text", ""))
    return "\n".join(parts)


def instance(schema, root=None):
    """Some value that a JSON Schema of the structured-output subset accepts: the smallest, and the first choice."""
    root = root if root is not None else schema
    if "$ref" in schema:
        target = root
        for step in schema["$ref"].lstrip("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        return instance(target, root)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return instance({**{k: v for k, v in schema.items() if k != word}, **schema[word][0]}, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind is None and "properties" in schema:
        kind = "object"
    if kind == "object":
        wanted = schema.get("required", list(schema.get("properties", {})))
        return {name: instance(schema["properties"][name], root) for name in wanted}
    if kind == "array":
        items = schema.get("items", {})
        number = schema.get("minItems", 0)
        if schema.get("uniqueItems") and "enum" in items:
            return items["enum"][:number]
        return [instance(items, root) for _ in range(number)]
    if kind in ("integer", "number"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        step = 1 if "exclusiveMinimum" in schema and "minimum" not in schema else 0
        return min(max(low + step, 0), schema.get("maximum", max(low + step, 0)))
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    return "x" * max(1, schema.get("minLength", 0))


def answer_to(request, action=None, params=None, **members):
    """A proposal in the form that the request asks for: the first action, the smallest params, unless given.

    OpenAI's strict mode allows no choice between objects, so params has a member for each action there, null for all
    but the chosen one; the schema says so itself.
    """
    schema = asked_schema(request)
    answer = instance(schema)
    answer.update({"confidence": 0.9, "rationale": "As the facts suggest.", **members})
    answer["action"] = chosen = action or answer["action"]
    by_action = schema["properties"]["params"].get("properties", {})
    if set(by_action) == set(schema["properties"]["action"]["enum"]):
        smallest = instance(by_action[chosen]) if chosen in by_action else {}
        answer["params"] = {name: None for name in by_action}
        answer["params"][chosen] = smallest if params is None else params
    elif params is not None:
        answer["params"] = params
    return answer


def obedient(request):
    """The plain good model: the smallest answer that the request's own schema allows."""
    if asked_schema(request) is None:
        return error(400, "no_schema", "this model answers only requests with a JSON Schema")
    return answering(request, answer_to(request))


def answering(request, proposal):
    """The proposal as the request wants it: as content, or as a tool call."""
    if any(tool.get("function", tool)["name"] == "proposal" for tool in request.get("tools", [])):
        return calling(request, ("proposal", proposal))
    return message(json.dumps(proposal)) if is_anthropic(request) else completion(proposal)


def proposing(action, params=None, **members):
    """A model that always proposes this."""
    return lambda request: answering(request, answer_to(request, action, params, **members))


# --- the scripted server ------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Asked:
    path: str
    headers: dict
    body: dict
    mono_s: float


class ScriptedModel:
    """An OpenAI- and Anthropic-compatible server in this process.

    script: a function of the request's JSON body that returns a completion (a dict) or a Reply; or a list of those,
    used up one by one, the last one again and again. Requests are answered in parallel.
    """

    def __init__(self, script=obedient):
        self.script = script
        self.requests = []
        self._lock = threading.Lock()
        model = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def do_GET(self):
                self._send(Reply({"object": "list", "data": [{"id": "scripted", "object": "model"}]}))

            def do_POST(self):
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                try:
                    body = json.loads(raw)
                except ValueError:
                    self._send(error(400, "invalid_json", "the request is not JSON"))
                    return
                if not re.fullmatch(r"(/v1)?/(chat/completions|messages)", self.path):
                    self._send(error(404, "not_found", self.path))
                    return
                reply = model._answer(Asked(self.path, {k.lower(): v for k, v in self.headers.items()}, body,
                                            time.monotonic()))
                self._send(reply if isinstance(reply, Reply) else Reply(reply))

            def _send(self, reply):
                if reply.delay_s:
                    time.sleep(reply.delay_s)
                if reply.reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    self.connection.close()
                    self.close_connection = True
                    return
                body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                try:
                    self.send_response(reply.status)
                    for name, value in {"content-type": "application/json", **reply.headers}.items():
                        self.send_header(name, str(value))
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body[:reply.truncate_at])
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client had enough; some tests are about that
                if reply.truncate_at is not None:
                    self.close_connection = True

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 1024

            def handle_error(self, request, client_address):
                pass  # a reset by the client is not this server's error

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def _answer(self, asked):
        with self._lock:
            self.requests.append(asked)
            if callable(self.script):
                script = self.script
            else:
                return self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return script(asked.body)

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()


# --- the project's simulator --------------------------------------------------------------------------------------

class ModelSim:
    """`verdict model-sim` as users run it."""

    def __init__(self, directory, *options, binary=paths.BINARY):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.options = options
        self.binary = binary
        self.process = Process("model-sim", directory / "model-sim.log")

    def start(self):
        self.process.start([self.binary, "model-sim", "--listen", f"127.0.0.1:{self.port}", *self.options])

        def listening():
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                return False

        wait_until(listening, 20, "model-sim listens", self.process)
        return self

    def _call(self, path, body=None, timeout=10):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}",
                                         None if body is None else json.dumps(body).encode(),
                                         {"content-type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=timeout) as answer:
            return json.load(answer)

    def ask(self, body):
        """One request, past the worker: what would the model say?"""
        return self._call("/v1/chat/completions", body)

    def control(self, **behaviour):
        """Changes how it behaves from now on; `verdict model-sim --help` lists the members."""
        return self._call("/control", behaviour)

    def stats(self):
        return self._call("/stats")

    def stop(self):
        return self.process.terminate(10)

    def kill(self):
        self.process.kill()
