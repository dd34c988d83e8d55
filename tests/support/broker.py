"""A real Apache Kafka broker: one node, KRaft, started straight from its jars.

The jars come from Maven Central once, into the user's cache (support/kafka/pom.xml pins them). VERDICT_KAFKA chooses
the line: "4" (default) or "3.9".
"""

import base64
import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time
import uuid
import xml.etree.ElementTree

import confluent_kafka
from confluent_kafka import admin

from . import paths
from .processes import Process, free_port, wait_until

POM = paths.SUPPORT / "kafka" / "pom.xml"
LINE = os.environ.get("VERDICT_KAFKA", "4")
JAVA_MIN = {"4": 17, "3.9": 11}
FETCH_TIMEOUT_S = 600
START_TIMEOUT_S = 60


class KafkaUnavailable(Exception):
    """This machine cannot run the broker at all; the message says what is missing and how to get it."""


def _pom_version(line):
    ns = {"m": "http://maven.apache.org/POM/4.0.0"}
    for profile in xml.etree.ElementTree.parse(POM).getroot().iterfind(".//m:profile", ns):
        if profile.findtext("m:id", namespaces=ns) == f"kafka-{line}":
            return profile.findtext(".//m:kafka.version", namespaces=ns)
    raise KafkaUnavailable(f"VERDICT_KAFKA={line}: {POM} has no profile kafka-{line}")


def find_java(minimum):
    """The first Java that is new enough: JAVA_HOME, the path, then Debian's folder."""
    home = os.environ.get("JAVA_HOME")
    candidates = [pathlib.Path(home, "bin", "java")] if home else []
    candidates += [pathlib.Path(p) for p in [shutil.which("java")] if p]
    candidates += sorted(pathlib.Path("/usr/lib/jvm").glob("*/bin/java"), reverse=True)
    seen = []
    for java in candidates:
        release = java.resolve().parents[1] / "release"
        found = re.search(r'JAVA_VERSION="(\d+)', release.read_text()) if release.exists() else None
        if found and int(found.group(1)) >= minimum:
            return java
        if found:
            seen.append(found.group(1))
    raise KafkaUnavailable(f"Java {minimum} or newer is needed"
                           + (f", only {', '.join(sorted(set(seen)))} found" if seen else " and there is none")
                           + "; run tests/support/install.sh test")


def class_path(line=LINE):
    """The folder with the broker's jars; fetched by Maven the first time. Two runs at once fetch once."""
    tag = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    jars = paths.cache_dir() / "kafka" / f"{_pom_version(line)}-{tag}"
    if jars.is_dir():
        return jars
    jars.parent.mkdir(parents=True, exist_ok=True)
    with open(jars.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if jars.is_dir():
            return jars
        if shutil.which("mvn") is None:
            raise KafkaUnavailable("Maven is needed to fetch Apache Kafka; run tests/support/install.sh test")
        partial = jars.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            run = subprocess.run(
                ["mvn", "--batch-mode", "--quiet", f"--file={POM}", f"--activate-profiles=kafka-{line}",
                 "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                timeout=FETCH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise KafkaUnavailable(f"Maven did not fetch Apache Kafka within {FETCH_TIMEOUT_S} s") from None
        if run.returncode != 0:
            errors = [text for text in run.stdout.splitlines() if "ERROR" in text] or ["no message"]
            raise KafkaUnavailable(f"Maven could not fetch Apache Kafka: {errors[0]}")
        partial.rename(jars)  # complete or absent, never half there
    return jars


def _new_cluster_id():
    # A leading dash would be an option to the storage tool.
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


class Broker:
    """start() formats on first use; stop(), kill() and start() again keep port and data."""

    def __init__(self, directory, line=LINE, config=None):
        self.line = line
        self.directory = pathlib.Path(directory)
        self.java = find_java(JAVA_MIN.get(line, 17))
        self.jars = class_path(line)
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.cluster_id = _new_cluster_id()
        self.process = Process("kafka", self.directory / "kafka.log")
        self._properties = self.directory / "server.properties"
        self._config = {**self._defaults(), **(config or {})}
        self._admin = None

    def _defaults(self):
        controller = free_port()
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": self.directory / "data",
            # A topic that a test forgot to create must be an error, not a topic.
            "auto.create.topics.enable": "false",
            # One node: every internal topic has one replica.
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # Quick to start: few internal partitions, small preallocated indexes, no waiting for more members, and
            # a controller that does not wait long for the life sign of the process that was killed.
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.num.partitions": 4,
            "log.index.size.max.bytes": 1 << 20,
            "log.cleaner.dedupe.buffer.size": 4 << 20,
            "group.initial.rebalance.delay.ms": 0,
            "broker.heartbeat.interval.ms": 500,
            "broker.session.timeout.ms": 3000,
        }

    def _jvm(self, main, *args):
        log_config = "log4j2" if self.line.startswith("4") else "log4j"
        log_property = "log4j2.configurationFile" if self.line.startswith("4") else "log4j.configuration"
        return [self.java, "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
                f"-D{log_property}=file:{POM.parent / log_config}.properties", "-cp", f"{self.jars}/*", main, *args]

    def start(self, timeout=START_TIMEOUT_S):
        if not self._properties.exists():
            self._format()
        self.process.start(self._jvm("kafka.Kafka", self._properties))
        self.wait_ready(timeout)
        return self

    def _format(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in self._config.items()))
        run = subprocess.run(
            [*map(str, self._jvm("kafka.tools.StorageTool", "format", "--cluster-id", self.cluster_id,
                                 "--config", self._properties))],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if run.returncode != 0:
            self._properties.unlink()
            raise RuntimeError(f"formatting Kafka's storage failed:\n{run.stdout}")

    def wait_ready(self, timeout=START_TIMEOUT_S):
        """Until it accepts connections and answers that it is a member of its cluster."""
        def listening():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            return False

        def answering():
            with contextlib.suppress(confluent_kafka.KafkaException):
                return len(self.admin().list_topics(timeout=2).brokers) == 1
            return False

        deadline = time.monotonic() + timeout
        wait_until(listening, timeout, "Kafka listens", self.process)
        wait_until(answering, max(1, deadline - time.monotonic()), "Kafka answers", self.process)

    def stop(self, timeout=60):
        """A clean shutdown."""
        self._admin = None
        self.process.terminate(timeout)

    def kill(self):
        self.process.kill()

    def restart(self, clean=True, timeout=START_TIMEOUT_S):
        if clean:
            self.stop()
        else:
            self.kill()
        return self.start(timeout)

    def admin(self):
        if self._admin is None:
            self._admin = admin.AdminClient({"bootstrap.servers": self.bootstrap, "reconnect.backoff.max.ms": 200,
                                             "log_level": 0})
        return self._admin

    def create_topics(self, names, partitions=1, config=None):
        """Creates them and waits until a client can see them."""
        new = [admin.NewTopic(name, partitions, 1, config={k: str(v) for k, v in (config or {}).items()})
               for name in names]
        for future in self.admin().create_topics(new).values():
            future.result(30)
        wanted = set(names)
        wait_until(lambda: wanted <= set(self.admin().list_topics(timeout=5).topics), 30, f"topics {sorted(wanted)}")

    def delete_topics(self, names):
        for future in self.admin().delete_topics(list(names)).values():
            future.result(30)

    def partitions(self, topic):
        return sorted(self.admin().list_topics(topic, timeout=5).topics[topic].partitions)

    @contextlib.contextmanager
    def _consumer(self, group):
        # read_committed would ask for stable offsets, and librdkafka waits in silence while a transaction is open.
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.bootstrap, "group.id": group,
                                             "enable.auto.commit": False, "isolation.level": "read_uncommitted",
                                             "log_level": 0})
        try:
            yield consumer
        finally:
            consumer.close()

    def end_offsets(self, topic):
        """{partition: offset after the last record}."""
        with self._consumer("verdict-tests-offsets") as consumer:
            return {p: consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, p), timeout=10)[1]
                    for p in self.partitions(topic)}

    def committed(self, group, topic):
        """{partition: offset} that the group has committed, without what an open transaction holds; None for none."""
        parts = [confluent_kafka.TopicPartition(topic, p) for p in self.partitions(topic)]
        with self._consumer(group) as consumer:
            return {tp.partition: tp.offset if tp.offset >= 0 else None
                    for tp in consumer.committed(parts, timeout=10)}
