"""What the tests in Python share: one broker and one Redis for the whole run, fresh topics for each test.

Without what the broker needs the tests that use it do not run, and the summary says so loudly;
VERDICT_REQUIRE_KAFKA=1 (set by .ci/run) makes that a failure.
"""

import itertools
import os
import pathlib
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from support import broker as broker_module  # noqa: E402
from support import paths, processes, redis_server  # noqa: E402

REQUIRE = os.environ.get("VERDICT_REQUIRE_KAFKA") == "1"
_numbers = itertools.count(1)
_not_run = {}  # reason: [test, ...]
_shown = {}  # name of a program: the end of its log that a report has already
_BEGAN = pytest.StashKey()
_EXIT_STATUS = pytest.StashKey()


def _unavailable(request, reason):
    if REQUIRE:
        pytest.fail(f"{reason} (VERDICT_REQUIRE_KAFKA=1)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def run_dir():
    return paths.run_dir()


@pytest.fixture
def test_dir(run_dir, request):
    """A folder for one test's files."""
    name = "".join(char if char.isalnum() or char in "-_" else "-" for char in request.node.name)
    path = run_dir / f"{next(_numbers):03}-{name[:60]}"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def binary():
    """The program under test. That it was not built is a failure: make test builds it first."""
    if not os.access(paths.BINARY, os.X_OK):
        pytest.fail(f"{paths.BINARY} is not there; run make", pytrace=False)
    return paths.BINARY


@pytest.fixture(scope="session")
def brokers(run_dir, request):
    """Starts brokers: brokers("name", config={...}). All are stopped when the run ends."""
    started = []

    def start(name, **kwargs):
        try:
            broker = broker_module.Broker(run_dir / name, **kwargs)
        except broker_module.KafkaUnavailable as err:
            _unavailable(request, str(err))
        started.append(broker)
        return broker.start()

    yield start
    for broker in reversed(started):
        broker.kill()  # nobody reads its data again


@pytest.fixture(scope="session")
def broker(brokers):
    """The run's broker. Tests that stop it or that count on topic names start one of their own."""
    return brokers("kafka")


@pytest.fixture(scope="session")
def redis_shared(run_dir, request):
    try:
        server = redis_server.RedisServer(run_dir / "redis").start()
    except redis_server.RedisUnavailable as err:
        _unavailable(request, str(err))
    yield server
    server.kill()


@pytest.fixture
def redis(redis_shared):
    """The run's Redis, empty."""
    redis_shared.client().flushall()
    return redis_shared


@pytest.fixture
def topics(broker):
    """Creates topics for one test: topics("orders", "decisions", partitions=3) gives their unique names, in order."""
    prefix = f"t{next(_numbers)}"
    created = []

    def create(*names, partitions=1, config=None):
        full = [f"{prefix}.{name}" for name in names]
        broker.create_topics(full, partitions, config)
        created.extend(full)
        return full[0] if len(full) == 1 else full

    yield create
    if created:
        broker.delete_topics(created)


def pytest_runtest_setup(item):
    item.stash[_BEGAN] = time.time()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        # Taken now, before the fixtures stop the programs that the test was about.
        # Once each: after a shared fixture failed, every test that needs it fails.
        for name, tail in processes.log_tails(since=item.stash[_BEGAN]):
            if _shown.get(name) != tail:
                report.sections.append((f"log of {name}", tail))
                _shown[name] = tail


def pytest_runtest_logreport(report):
    # Here and not where the report is made: with several processes only the first of them writes the summary.
    if report.skipped and isinstance(report.longrepr, (tuple, list)):
        _not_run.setdefault(report.longrepr[2].removeprefix("Skipped: "), []).append(report.nodeid)


def pytest_terminal_summary(terminalreporter):
    for reason, tests in _not_run.items():
        terminalreporter.section("NOT RUN", sep="!", red=True, bold=True)
        terminalreporter.write_line(f"NOT RUN: {len(tests)} tests, because {reason}", red=True, bold=True)
        for nodeid in tests:
            terminalreporter.write_line(f"    {nodeid}")


def pytest_sessionfinish(session, exitstatus):
    session.config.stash[_EXIT_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """Leaves without destroying the clients that failed tests have left behind.

    librdkafka 2.0.2 was seen to hang in rd_kafka_destroy() of a transactional producer whose topic and broker were gone
    by then; a failed test must not cost the run its result.
    """
    if _EXIT_STATUS in config.stash:
        processes.stop_everything()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_EXIT_STATUS])
