"""`verdict run`: started with a settings file, watched through its admin port, ended kindly or not.

settings() is the only place in the tests that knows how a settings file is laid out.
"""

import contextlib
import copy
import http.client
import json
import os
import pathlib
import re
import shlex
import urllib.error
import urllib.request

from . import libconfig, paths
from .processes import Process, free_port, wait_until

READY_TIMEOUT_S = 30
STOP_TIMEOUT_S = 40  # above the default drain_timeout_ms

# Runs the binary under something else, for example VERDICT_WRAPPER="valgrind -q --error-exitcode=99".
WRAPPER = shlex.split(os.environ.get("VERDICT_WRAPPER", ""))

_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy is set is not for 127.0.0.1
_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)\Z")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def settings(bootstrap, redis_address, model_url, topics, policies=paths.POLICIES, group="verdict", **changes):
    """The settings of one worker, as a dict; `changes` are merged in, group by group, None takes a setting away.

    topics: list of dicts, each a topic's name and format, and for plain JSON the expressions for its attributes.
    """
    result = {
        "kafka": {"brokers": bootstrap, "group": group, "start": "earliest", "topics": tuple(topics)},
        "redis": {"address": redis_address},
        "models": {"main": {"url": model_url, "model": "scripted"}},
        "policies": {"dir": str(policies)},
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
    }
    return merge(result, changes)


def merge(base, changes):
    out = copy.copy(base)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(out.get(name), dict):
            out[name] = merge(out[name], value)
        else:
            out[name] = value
    return out


def parse_metrics(text):
    """Prometheus' text format: {(name, ((label, value), ...)): number}, labels sorted."""
    samples = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = _SAMPLE.match(line)
        assert match, f"not a metrics line: {line!r}"
        labels = tuple(sorted(_LABEL.findall(match["labels"] or "")))
        key = match["name"], labels
        assert key not in samples, f"{key} stands twice"
        samples[key] = float(match["value"])
    return samples


class Worker:
    """start() writes the settings file; kill() and start() again make the same worker come back."""

    def __init__(self, directory, conf, name="worker", env=None, binary=paths.BINARY):
        self.name = name
        self.directory = pathlib.Path(directory)
        self.conf = conf
        self.env = env or {}
        self.binary = binary
        self.admin = conf["admin"]["listen"]
        self.conf_path = self.directory / f"{name}.cfg"
        self.process = Process(name, self.directory / f"{name}.log")

    def start(self, ready=True):
        self.directory.mkdir(parents=True, exist_ok=True)
        self.conf_path.write_text(libconfig.dumps(self.conf))
        self.process.start([*WRAPPER, self.binary, "run", "-c", self.conf_path], env=self.env, cwd=paths.ROOT)
        if ready:
            self.wait_ready()
        return self

    def _get(self, path, timeout=5):
        """(status, text), or (None, reason) while nothing answers."""
        try:
            with _HTTP.open(f"http://{self.admin}{path}", timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as err:
            return err.code, err.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as err:
            return None, str(err)

    def ready(self):
        return self._get("/readyz")[0] == 200

    def healthy(self):
        return self._get("/healthz")[0] == 200

    def wait_ready(self, timeout=READY_TIMEOUT_S):
        wait_until(self.ready, timeout, f"{self.name} is ready", self.process)

    def status(self):
        code, text = self._get("/status")
        assert code == 200, f"/status: {code} {text[:200]}"
        return json.loads(text)

    def metrics(self):
        code, text = self._get("/metrics")
        assert code == 200, f"/metrics: {code} {text[:200]}"
        return parse_metrics(text)

    def metric(self, name, **labels):
        """The sum of the samples of a metric that carry these labels; 0 when there is none yet."""
        wanted = set(labels.items())
        return sum(value for (sample, have), value in self.metrics().items()
                   if sample == name and wanted <= set(have))

    def wait_metric(self, name, at_least, timeout=20, **labels):
        wait_until(lambda: self.metric(name, **labels) >= at_least, timeout,
                   f"{name}{labels or ''} >= {at_least}", self.process)

    def stop(self, timeout=STOP_TIMEOUT_S):
        """SIGTERM; returns the exit code."""
        return self.process.terminate(timeout)

    def kill(self):
        self.process.kill()

    def pause(self):
        self.process.pause()

    def resume(self):
        self.process.resume()

    def running(self):
        return self.process.running()

    def log(self):
        return self.process.log()

    @contextlib.contextmanager
    def during(self):
        """Started at the block's start; at its end stopped, which must go well."""
        self.start()
        try:
            yield self
            code = self.stop()
            assert code == 0, f"{self.name} ended with {code}\n{self.process.log_tail()}"
        finally:
            self.kill()
