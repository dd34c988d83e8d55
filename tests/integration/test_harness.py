"""The harness itself: what the other tests rely on without looking again."""

import json
import socket
import struct
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request

import confluent_kafka
import pytest
import redis as redis_py

from support import libconfig, model, paths, processes, worker
from support.broker import Broker, KafkaUnavailable, class_path
from support.processes import Process, Timeout, wait_until
from support.producer import Producer, cloudevent, cloudevent_headers, unique_id
from support.reader import Reader
from support.redis_server import RedisServer


# --- Kafka --------------------------------------------------------------------------------------------------------

def test_an_open_transaction_is_invisible_until_it_commits(broker, topics):
    topic = topics("out")
    producer = Producer(broker.bootstrap, transactional_id=unique_id("txn"))
    with Reader(broker.bootstrap, [topic]) as reader, Reader(broker.bootstrap, [topic], "read_uncommitted") as dirty:
        with producer.transaction():
            producer.send(topic, b"one", key=b"k", headers=[("h", b"v")])
            producer.flush()
            assert [r.value for r in dirty.count(1, timeout=10)] == [b"one"]
            assert reader.drain() == []
        record, = reader.count(1, timeout=10)
    assert (record.value, record.key, record.header("h"), record.header("none")) == (b"one", b"k", "v", None)


def test_an_aborted_transaction_is_never_seen(broker, topics):
    topic = topics("out")
    producer = Producer(broker.bootstrap, transactional_id=unique_id("txn"))
    with producer.transaction(abort=True):
        producer.send(topic, b"aborted")
    with pytest.raises(ZeroDivisionError), producer.transaction():
        producer.send(topic, b"raised")
        raise ZeroDivisionError
    with producer.transaction():
        producer.send(topic, b"committed")
    with Reader(broker.bootstrap, [topic]) as reader:
        assert [r.value for r in reader.drain()] == [b"committed"]
    with Reader(broker.bootstrap, [topic], "read_uncommitted") as dirty:
        assert b"aborted" in [r.value for r in dirty.drain()]


def test_offsets_of_a_transaction_count_when_it_commits(broker, topics):
    """What G1 stands on, and what librdkafka's mock cluster does not do."""
    source, out = topics("in", "out")
    group = unique_id("group")
    Producer(broker.bootstrap).send_one(source, b"event")
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group,
                                         "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    consumer.subscribe([source])
    wait_until(lambda: consumer.poll(0.1), 20, "the event arrives")
    raw = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": unique_id("txn")})
    raw.init_transactions(20)
    raw.begin_transaction()
    raw.produce(out, b"decision")
    raw.send_offsets_to_transaction([confluent_kafka.TopicPartition(source, 0, 1)],
                                    consumer.consumer_group_metadata(), 20)
    assert broker.committed(group, source) == {0: None}
    raw.commit_transaction(20)
    assert broker.committed(group, source) == {0: 1}
    consumer.close()


def test_the_broker_comes_back_with_its_data(run_dir, brokers):
    own = brokers("kafka-restarted")
    own.create_topics(["kept"], partitions=3)
    producer = Producer(own.bootstrap, transactional_id="kept")
    for clean in (False, True):
        with producer.transaction():
            for number in range(30):
                producer.send("kept", b"%d" % number, key=b"%d" % number)
        own.restart(clean=clean)
    with producer.transaction():
        producer.send("kept", b"last")
    with Reader(own.bootstrap, ["kept"]) as reader:
        values = sorted(r.value for r in reader.drain())
    assert values == sorted([b"%d" % n for n in range(30)] * 2 + [b"last"])
    # Beside the records, each transaction leaves a marker in each partition that it wrote to.
    assert sum(own.end_offsets("kept").values()) > 61
    own.stop()
    assert own.process.returncode() in (0, 143)  # the JVM's own number for SIGTERM


def test_topics_are_not_created_by_accident(broker):
    with pytest.raises((AssertionError, confluent_kafka.KafkaException)):
        Producer(broker.bootstrap, config={"message.timeout.ms": 1000}).send_one("nobody-made-this", b"x")
    assert "nobody-made-this" not in broker.admin().list_topics(timeout=5).topics


def test_a_large_record_passes_where_the_topic_allows_it(broker, topics):
    topic = topics("large", config={"max.message.bytes": 6_000_000})
    Producer(broker.bootstrap).send_one(topic, b"x" * 5_000_000)
    with Reader(broker.bootstrap, [topic]) as reader:
        assert [len(r.value) for r in reader.drain()] == [5_000_000]


def test_a_null_value_and_headers_arrive_as_sent(broker, topics):
    topic = topics("plain")
    Producer(broker.bootstrap).send_one(topic, None, key=b"\x00\xff", headers=[("h", b"\xfe"), ("h", b"2")])
    with Reader(broker.bootstrap, [topic]) as reader:
        record, = reader.drain()
    assert (record.value, record.key, record.headers) == (None, b"\x00\xff", (("h", b"\xfe"), ("h", b"2")))
    with pytest.raises(AssertionError, match="2 times"):
        record.header("h")


def test_the_reader_says_what_did_not_come(broker, topics):
    with Reader(broker.bootstrap, [topics("empty")]) as reader, pytest.raises(Timeout, match="3 records"):
        reader.count(3, timeout=0.3)


def test_without_maven_the_reason_is_clear(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KafkaUnavailable, match="install.sh test"):
        class_path()


def test_a_failing_maven_leaves_no_half_cache(monkeypatch, tmp_path):
    fake = tmp_path / "bin" / "mvn"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho '[ERROR] no route to anywhere'\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    for _ in range(2):
        with pytest.raises(KafkaUnavailable, match="no route to anywhere"):
            class_path()
    assert not [path for path in tmp_path.glob("verdict/kafka/*") if path.is_dir()]


def test_too_old_a_java_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("support.broker.JAVA_MIN", {"4": 99})
    with pytest.raises(KafkaUnavailable, match="Java 99"):
        Broker(tmp_path, line="4")


# --- Redis --------------------------------------------------------------------------------------------------------

def test_redis_starts_empty_and_never_evicts(redis):
    client = redis.client()
    assert client.dbsize() == 0
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    client.set("a", "1")
    assert client.get("a") == "1"


def test_redis_listens_on_its_socket_too(redis):
    redis.client().set("a", "1")
    assert redis_py.Redis(unix_socket_path=str(redis.socket)).get("a") == b"1"


@pytest.mark.parametrize("persist, empty, kept", [(False, True, None), (True, True, None), (True, False, "1")])
def test_redis_restarts_empty_or_with_its_data(test_dir, persist, empty, kept):
    server = RedisServer(test_dir, persist=persist).start()
    try:
        server.client().set("a", "1")
        server.restart(empty=empty)
        assert server.client().get("a") == kept
    finally:
        server.kill()


def test_a_paused_redis_is_silent_not_gone(test_dir):
    server = RedisServer(test_dir).start()
    try:
        server.pause()
        with pytest.raises(redis_py.TimeoutError):
            redis_py.Redis(port=server.port, socket_timeout=0.2).ping()
        server.resume()
        assert server.client().ping()
        server.pause()
        server.stop()  # also out of the pause
        assert not server.process.running()
    finally:
        server.kill()


# --- programs -----------------------------------------------------------------------------------------------------

def test_a_program_that_ends_early_is_reported_with_its_log(test_dir):
    process = Process("early", test_dir / "early.log")
    process.start(["sh", "-c", "echo the reason; exit 3"])
    with pytest.raises(Timeout, match="(?s)early ended with 3.*the reason"):
        wait_until(lambda: False, 5, "it is ready", process)


def test_a_program_that_ignores_sigterm_is_an_error_and_is_killed(test_dir):
    process = Process("stubborn", test_dir / "stubborn.log")
    process.start([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN);"
                                         "print('up', flush=True); time.sleep(60)"])
    wait_until(lambda: "up" in process.log().splitlines(), 10, "it is up", process)
    with pytest.raises(Timeout, match="still runs"):
        process.terminate(0.2)
    assert not process.running()


def test_programs_die_with_the_test_run(test_dir):
    """Even when the interpreter is killed outright."""
    script = textwrap.dedent(f"""
        import os, pathlib, sys
        sys.path.insert(0, {str(paths.ROOT / "tests")!r})
        from support.processes import Process, wait_until
        process = Process("child", pathlib.Path({str(test_dir / "child.log")!r}))
        process.start(["sh", "-c", "echo up; exec sleep 60"])
        wait_until(lambda: "up" in process.log().splitlines(), 10, "it is up", process)
        print(process.pid, flush=True)
        os.kill(os.getpid(), 9)
    """)
    out = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(out.stdout)

    def gone():
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_until(gone, 5, "the child is gone")


def test_a_free_port_is_kept_for_its_server():
    port = processes.free_port()
    for _ in range(2):  # a server that comes, goes, and comes again
        with socket.socket() as other, pytest.raises(OSError):
            other.bind(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()
    assert port not in {processes.free_port() for _ in range(50)}


# --- settings, events, metrics ------------------------------------------------------------------------------------

def test_settings_are_written_as_libconfig_reads_them(test_dir):
    """Read back by libconfig itself, through its C library."""
    import ctypes

    class Setting(ctypes.Structure):
        pass

    conf = {"s": 'a "quote" \\ and\nline', "i": -5, "big": 1 << 40, "f": 0.5, "whole": 2.0, "b": True, "gone": None,
            "group": {"name-with_x": 1}, "array": ["a", "b"], "list": ({"a": 1}, {"a": 2}), "none": ()}
    path = test_dir / "settings.cfg"
    path.write_text(libconfig.dumps(conf))
    lib = ctypes.CDLL("libconfig.so.9" if not _loads("libconfig.so.11") else "libconfig.so.11")
    config = ctypes.create_string_buffer(4096)
    lib.config_init(config)
    assert lib.config_read_file(config, str(path).encode()) == 1, path.read_text()
    text, number, big, real = ctypes.c_char_p(), ctypes.c_int(), ctypes.c_longlong(), ctypes.c_double()
    assert lib.config_lookup_string(config, b"s", ctypes.byref(text)) and text.value.decode() == conf["s"]
    assert lib.config_lookup_int(config, b"i", ctypes.byref(number)) and number.value == -5
    assert lib.config_lookup_int64(config, b"big", ctypes.byref(big)) and big.value == 1 << 40
    assert lib.config_lookup_float(config, b"whole", ctypes.byref(real)) and real.value == 2.0
    assert lib.config_lookup_bool(config, b"b", ctypes.byref(number)) and number.value == 1
    assert lib.config_lookup_int(config, b"list.[1].a", ctypes.byref(number)) and number.value == 2
    assert lib.config_lookup_string(config, b"array.[1]", ctypes.byref(text)) and text.value == b"b"
    assert not lib.config_lookup_int(config, b"gone", ctypes.byref(number))
    lib.config_destroy(config)
    with pytest.raises(ValueError, match="a.b"):
        libconfig.dumps({"a.b": 1})


def _loads(name):
    import ctypes
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def test_settings_changes_are_merged_by_group():
    conf = worker.settings("b:1", "r:2", "http://m", [{"name": "t"}], kafka={"group": "other"}, redis=None)
    assert conf["kafka"]["group"] == "other" and conf["kafka"]["brokers"] == "b:1"
    assert "redis = " not in libconfig.dumps(conf)


def test_metrics_are_parsed_with_labels():
    text = '# HELP a b\na 1\nb_total{x="1",y="q\\"}, {z"} 2.5\nb_total{x="2",y=""} +Inf\n'
    samples = worker.parse_metrics(text)
    assert samples["a", ()] == 1
    assert samples["b_total", (("x", "1"), ("y", 'q\\"}, {z'))] == 2.5
    assert samples["b_total", (("x", "2"), ("y", ""))] == float("inf")
    with pytest.raises(AssertionError):
        worker.parse_metrics("not a metric\n")
    with pytest.raises(AssertionError, match="twice"):
        worker.parse_metrics("a 1\na 2\n")


def test_cloudevents_in_both_modes():
    value, headers = cloudevent("1", "t", {"a": 1}, subject="s")
    assert json.loads(value)["data"] == {"a": 1} and json.loads(value)["subject"] == "s"
    assert headers == [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    binary = dict(cloudevent_headers("1", "t", source=None))
    assert binary == {"ce_specversion": b"1.0", "ce_id": b"1", "ce_type": b"t", "content-type": b"application/json"}


# --- the scripted model -------------------------------------------------------------------------------------------

def _ask(url, body, timeout=5):
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as answer:
        return json.load(answer)


SCHEMA = {"type": "object", "required": ["action", "params", "confidence", "tags"], "properties": {
    "action": {"type": "string", "enum": ["wait", "act"]},
    "params": {"anyOf": [{"type": "object", "required": ["hours"], "properties": {
        "hours": {"type": "integer", "minimum": 3, "maximum": 9}}}, {"type": "object"}]},
    "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 2},
    "optional": {"type": ["string", "null"]}}}


def test_the_obedient_model_follows_the_schema_it_is_given():
    asked = {"messages": [{"role": "user", "content": "decide"}],
             "response_format": {"type": "json_schema", "json_schema": {"name": "d", "schema": SCHEMA}}}
    with model.ScriptedModel() as server:
        answer = json.loads(_ask(server.url, asked)["choices"][0]["message"]["content"])
        del answer["rationale"]
        with pytest.raises(urllib.error.HTTPError, match="400"):
            _ask(server.url, {"messages": []})
    assert answer == {"action": "wait", "params": {"hours": 3}, "confidence": 0.9, "tags": ["a", "b"]}
    assert len(server.requests) == 2 and model.asked_text(server.requests[0].body) == "decide"


def test_the_scripted_model_plays_its_list_and_keeps_the_last():
    script = [model.error(429, "rate_limit", headers={"retry-after": "1"}), model.completion("second"),
              model.completion("last")]
    with model.ScriptedModel(script) as server:
        with pytest.raises(urllib.error.HTTPError) as failed:
            _ask(server.url, {})
        said = [_ask(server.url, {})["choices"][0]["message"]["content"] for _ in range(3)]
    assert failed.value.code == 429 and failed.value.headers["retry-after"] == "1"
    assert said == ["second", "last", "last"]


def test_the_scripted_model_can_be_slow_reset_and_cut_short():
    with model.ScriptedModel([model.Reply(reset=True)]) as server:
        with pytest.raises(OSError):
            _ask(server.url, {})
        server.script = [model.Reply({"a": "b" * 100}, truncate_at=10)]
        with pytest.raises(Exception, match="IncompleteRead"):
            _ask(server.url, {})
        server.script = [model.Reply(model.completion("late"), delay_s=0.3)]
        began = time.monotonic()
        _ask(server.url, {})
        assert time.monotonic() - began >= 0.3


def test_a_reset_is_a_reset_on_the_wire():
    with model.ScriptedModel([model.Reply(reset=True)]) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            with pytest.raises(ConnectionResetError):
                sock.recv(10)
    assert struct.calcsize("ii") == 8  # what SO_LINGER's bytes above are


# --- the project's simulator --------------------------------------------------------------------------------------

def test_the_simulated_model_answers_and_can_be_told_to_fail(binary, test_dir):
    sim = model.ModelSim(test_dir).start()
    try:
        answer = sim.ask({"model": "m", "messages": [{"role": "user", "content": "decide"}],
                          "response_format": {"type": "json_schema", "json_schema": {"name": "d", "schema": SCHEMA}}})
        assert json.loads(answer["choices"][0]["message"]["content"])["action"] in ("wait", "act")
        assert sim.stats()
        sim.control(errors={"500": 1})
        with pytest.raises(urllib.error.HTTPError, match="500"):
            sim.ask({"model": "m", "messages": []})
    finally:
        assert sim.stop() == 0
