"""Opt-in: make test-peers and make test-model fetch packages, so a plain test run collects nothing here."""

import os
import pathlib

import pytest

from support import peers

if os.environ.get("VERDICT_OPT_IN") != "1":
    collect_ignore = [path.name for path in pathlib.Path(__file__).parent.glob("test_*.py")]


@pytest.fixture(scope="session")
def fetched():
    """fetched(function, ...): calls it; where something is missing the test does not run, and the summary says so."""
    def call(function, *args, **kwargs):
        try:
            return function(*args, **kwargs)
        except peers.PeersUnavailable as err:
            pytest.skip(str(err))

    return call


@pytest.fixture(scope="session")
def steady(run_dir, fetched):
    """steady("openai"): the server that this API's description makes, started once."""
    running = {}

    def get(api):
        if api not in running:
            running[api] = fetched(lambda: peers.Steady(run_dir / "peers", api).start())
        return running[api]

    yield get
    for server in running.values():
        server.stop()


@pytest.fixture
def aimock(test_dir, fetched):
    """aimock(fixtures): the fake, with these answers."""
    running = []

    def start(fixtures, **kwargs):
        running.append(fetched(lambda: peers.Aimock(test_dir, fixtures, **kwargs).start()))
        return running[-1]

    yield start
    for server in running:
        server.stop()
