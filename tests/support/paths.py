"""Where things are. Every path can be moved by the environment, so that several checkouts and builds can be tested."""

import os
import pathlib
import shutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VERDICT_BUILD", ROOT / "build")).resolve()
BINARY = pathlib.Path(os.environ.get("VERDICT_BIN", BUILD / "verdict")).absolute()
SCHEMAS = ROOT / "schemas"
POLICIES = ROOT / "policies"
SUPPORT = ROOT / "tests" / "support"

_RUNS = BUILD / "tests"


def cache_dir():
    """The user's cache folder of this project; survives `make clean`."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "verdict"


def run_dir():
    """A new folder for this test run's files. It stays for reading the logs until the next run clears it away."""
    _RUNS.mkdir(parents=True, exist_ok=True)
    for old in _RUNS.glob("run-*"):
        pid = old.name.rpartition("-")[2]
        if pid.isdigit() and not pathlib.Path("/proc", pid).exists():
            shutil.rmtree(old, ignore_errors=True)
    path = _RUNS / f"run-{os.getpid()}"
    path.mkdir(exist_ok=True)
    return path
