#!/usr/bin/python3
"""What a decision costs: the parts alone, the worker, and a plain Python worker, on this machine, in one go.

  tests/bench/run.py [--quick] [--only parts,worker,tls,comparison,backlog,start] [--repeat N]

Prints tables and writes build/bench/results.json. Numbers of different runs differ by the machine's mood; ratios are between
numbers of one run. --quick takes a third of the cells and no TLS; --repeat runs everything N times and reports medians.
"""

import argparse
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import stage as bench  # noqa: E402
from support import model, paths, reader, records  # noqa: E402

IN_FLIGHT = [100, 1000, 5000]
LATENCY_MS = [0, 200, 2000]
QUICK = [(0, 1000), (200, 1000)]
COMPARED = [(0, 1000), (200, 100), (200, 1000), (200, 5000), (2000, 1000)]
COMPARED_OTHERWISE = {"comparison_unchecked": {"schemas": "-"}, "comparison_httpx": {"client": "httpx"}}
TLS = (2000, 5000)
BACKLOG = 200_000
MB = 1e6 / 2**20  # in MiB: the bounds of what 5,000 in flight take are promised in MB, the kernel counts in KiB
TARGETS = [
    # what, measured (from the results), bound, is it met
    ("CPU per decision / sum of parts, 1,000 in flight", lambda r: r["worker"]["200/1000"]["ratio_to_parts"], "<= 1.3", lambda v: v <= 1.3),
    ("CPU per decision at 5,000 / at 100 in flight", lambda r: r["growth"], "<= 1.3", lambda v: v <= 1.3),
    ("RSS with 5,000 in flight, MiB", lambda r: r["worker"]["2000/5000"]["peak_rss_mib"], "<= 200 MB = 190.7",
     lambda v: v <= 200 * MB),
    ("RSS with 5,000 in flight over TLS, MiB", lambda r: r["tls"]["2000/5000"]["peak_rss_mib"], "<= 600 MB = 572.2",
     lambda v: v <= 600 * MB),
    # Less than that, and the two above say nothing: something else held the requests up.
    ("most requests at once in that cell, plain", lambda r: r["worker"]["2000/5000"]["most_at_once"], ">= 4900", lambda v: v >= 4900),
    ("most requests at once in that cell, TLS", lambda r: r["tls"]["2000/5000"]["most_at_once"], ">= 4900", lambda v: v >= 4900),
    ("RSS idle, MiB", lambda r: r["start"]["idle_rss_mib"], "< 30", lambda v: v < 30),
    ("added p50 ms, 2 s and 1,000 in flight", lambda r: r["worker"]["2000/1000"]["added_p50_ms"], "<= 100", lambda v: v <= 100),
    ("added p99 ms, 2 s and 1,000 in flight", lambda r: r["worker"]["2000/1000"]["added_p99_ms"], "<= 300", lambda v: v <= 300),
    ("CPU of the comparison worker / CPU of this one", lambda r: r["comparison"]["200/1000"]["ratio_to_worker"], ">= 8", lambda v: v >= 8),
    ("backlog by shortcut, events a second", lambda r: r["backlog"]["worker_per_s"], ">= 10000", lambda v: v >= 10000),
    ("backlog / bare loop", lambda r: r["backlog"]["ratio_to_loop"], ">= 0.6", lambda v: v >= 0.6),
    ("start to first decision without group join, ms", lambda r: r["start"]["first_decision_ms"], "< 300", lambda v: v < 300),
]


def say(text):
    print(text, flush=True)


# --- payloads ------------------------------------------------------------------------------------------------------

def take_payloads(stage, folder):
    """One event through the worker: what each party really sends, for the parts and for the comparison worker.

    Returns the worker: what it published is still in its topics.
    """
    folder.mkdir()
    answers = []

    def forward(request):
        answers.append(stage.model.ask(request))
        return answers[-1]

    stage.latency(0)
    with model.ScriptedModel(forward) as between:
        program = bench.VerdictUnderLoad(stage, 10, model={"url": between.url})
        bench.measure(stage, program, 1, 0)
        (folder / "request.json").write_text(compact(between.requests[-1].body))
        (folder / "response.json").write_text(compact(answers[-1]))
    take_records(stage, folder, {"event": program.topic, "decision": program.out, "audit": program.audit})
    return program


def published(stage, topic, count):
    with reader.Reader(stage.broker.bootstrap, [topic]) as read:
        return read.count(count, 20)


def take_records(stage, folder, topics):
    for name, topic in topics.items():
        record = published(stage, topic, 1)[0]
        (folder / f"{name}.json").write_bytes(record.value)
        (folder / f"{name}.headers").write_bytes(b"".join(b"%s=%s\n" % (key.encode(), value) for key, value in record.headers))


def paths_in(value, path=""):
    """Every JSON path in it, without the indices of lists."""
    if isinstance(value, list):
        return {path}.union(*(paths_in(item, f"{path}/[]") for item in value))
    if isinstance(value, dict):
        return {path}.union(*(paths_in(member, f"{path}/{name}") for name, member in value.items()))
    return {path}


def shape(record):
    """What all records of one topic share: names of members and headers, what was asked but for its own marker."""
    value = record.json()
    steps = value.get("reasoning", {"steps": []})["steps"]
    asked = {re.sub(r"\b[0-9a-f]{32}\b", "MARKER", message["text"]) for step in steps for message in step["messages"]}
    return paths_in(value) | {f"header {name}" for name, _ in record.headers} | asked


def check_comparison(stage, payloads, verdict):
    """Wrong unless the comparison worker publishes what the worker does; verdict is a run of that."""
    program = bench.ComparisonUnderLoad(stage, 10, payloads / "request.json")
    bench.measure(stage, program, 5, 0)
    for topic, of_verdict, check in [(program.out, verdict.out, records.check_decision),
                                     (program.audit, verdict.audit, records.check_audit)]:
        wanted = shape(published(stage, of_verdict, 1)[0])
        for record in published(stage, topic, 5):
            if shape(record) != wanted:
                raise bench.Wrong(f"only one of {topic} and {of_verdict} has {sorted(shape(record) ^ wanted)}")
            check(record)


def compact(value):
    return json.dumps(value, separators=(",", ":"))


# --- what is measured ----------------------------------------------------------------------------------------------

def bare_loop(stage, count, folder, batch):
    """What measure() tells of a worker: beside the loop runs the same reader, whose second half is the rate."""
    prefix, topic, out, audit = stage.fresh_names()
    bench.load("produce", stage.broker.bootstrap, topic, 0, count)
    loop = subprocess.Popen([bench.bench_binary("loop"), stage.broker.bootstrap, f"loop-{prefix}", topic, out, audit, str(count),
                             str(batch), folder / "decision", folder / "audit"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        seen = bench.load("copies", stage.broker.bootstrap, out, audit, 0, count, 120)
        text = loop.communicate(timeout=20)[0]
    finally:
        loop.kill()
        loop.wait()
    if loop.returncode != 0:
        raise bench.Wrong(f"loop: exit {loop.returncode}")
    return {"events_per_s": bench.rate_of(seen, count), "cpu_us_per_event": json.loads(text)["cpu_us_per_event"]}


def json_of(program, *args):
    run = subprocess.run([bench.bench_binary(program), *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         text=True, check=True)
    return json.loads(run.stdout)


def parts(stage, payloads, quick):
    """CPU us of each part, by in flight.

    HTTP is measured through libcurl alone. Through the project's own client the sum would fall with everything that client
    learns, and the ratio to it would not show it; own_http tells what that client takes, beside the sum and not in it.
    """
    kafka = bare_loop(stage, 20000, payloads, 1000)["cpu_us_per_event"]
    stage.latency(200)
    url = stage.model.url + "/chat/completions"
    found = {}
    for in_flight in [1000] if quick else IN_FLIGHT:
        count = max(1500, 4 * in_flight)
        row = {"kafka": kafka, **json_of("parts_http", payloads / "request.json", url, in_flight, count),
               **json_of("parts", payloads, bench.HERE / "policies/model/billing/failed_payment.cfg", paths.SCHEMAS,
                         stage.redis.port, url, in_flight, count)}
        own_http = row.pop("own_http")
        row = {**row, "sum": round(sum(row.values()), 1), "own_http": own_http}
        found[str(in_flight)] = row
        say(f"  {in_flight:>6} in flight: " + ", ".join(f"{name} {us:.1f}" for name, us in row.items()))
    return found


def events_for(latency_ms, in_flight, share=1.0):
    """Enough for some seconds: four waves of what is in flight, and no more than the machine does in them."""
    ideal = in_flight / (latency_ms / 1000) if latency_ms else 1e9
    return int(max(4 * in_flight if latency_ms else 8000, min(ideal, 2500) * 4) * share)


def pace(latency_ms, in_flight, seconds):
    """For the added time: nine tenths of in_flight where the model is the limit, else six tenths of what the machine can do."""
    def choose(measured):
        ideal = in_flight / (latency_ms / 1000) if latency_ms else 1e9
        rate = 0.9 * ideal if measured >= 0.85 * ideal else 0.6 * measured
        return max(50, int(rate * seconds)), rate
    return choose


def worker_cell(stage, latency_ms, in_flight, quick, model=None):
    return bench.measure(stage, bench.VerdictUnderLoad(stage, in_flight, model=model), events_for(latency_ms, in_flight),
                         latency_ms, pace(latency_ms, in_flight, 2 if quick else 4))


def tls_cell(stage, latency_ms, in_flight, quick):
    """The worker's, over HTTP/1.1 with TLS: a connection for each request in flight, the worst case for memory.

    The connections are all opened within some seconds, and the front makes its half of the handshakes on the same cores:
    what a worker waits for here is the machine, so it may wait as long as for an answer. The front's share of the machine
    makes decisions a second and the added time no comparison with the plain cell; CPU and memory are the worker's alone.
    """
    return worker_cell(stage, latency_ms, in_flight, quick, model={
        "url": stage.front.url, "ca_file": str(stage.front.ca_file), "http2": False, "connect_timeout_ms": 60000})


def comparison_cell(stage, payloads, latency_ms, in_flight, **options):
    program = bench.ComparisonUnderLoad(stage, in_flight, payloads / "request.json", **options)
    return bench.measure(stage, program, max(2000, min(6000, 6 * in_flight)), latency_ms)


def backlog(stage, folder, count):
    """The worker between two runs of the bare loop: a machine that changes its speed meanwhile changes both."""
    small = bench.VerdictUnderLoad(stage, 10, policies="shortcut")
    bench.measure(stage, small, 1, 0)
    folder.mkdir()
    take_records(stage, folder, {"decision": small.out, "audit": small.audit})
    loops = [bare_loop(stage, count, folder, 5000)]  # as many as the worker puts into one
    run = bench.measure(stage, bench.VerdictUnderLoad(stage, 5000, policies="shortcut"), count, 0)
    loops.append(bare_loop(stage, count, folder, 5000))
    loop_per_s = statistics.mean(loop["events_per_s"] for loop in loops)
    return {"events": count, "worker_per_s": run["decisions_per_s"], "worker_cpu_us": run["cpu_us_per_decision"],
            "peak_rss_mib": run["peak_rss_mib"], "loop_per_s": round(loop_per_s, 1),
            "loop_cpu_us": round(statistics.mean(loop["cpu_us_per_event"] for loop in loops), 2),
            "ratio_to_loop": round(run["decisions_per_s"] / loop_per_s, 2)}


def log_time(log, words):
    """Wall clock of the first line with these words, in seconds."""
    line = next(line for line in log.splitlines() if words in line)
    return time.mktime(time.strptime(line[:19], "%Y-%m-%dT%H:%M:%S")) + float(line[19:23])


def start_once(stage):
    stage.latency(0)
    program = bench.VerdictUnderLoad(stage, 1000)
    bench.load("produce", stage.broker.bootstrap, program.topic, 0, 1)
    try:
        begun = time.monotonic()
        program.start_at_once()
        first = bench.load("collect", stage.broker.bootstrap, program.out, program.audit, 0, 1, 30)["first_mono_us"] / 1e6
        time.sleep(1)
        idle = bench.memory_mib(program.pid, "VmRSS")
        log = program.log()
        join = log_time(log, "kafka.assigned") - log_time(log, "phase=joining")
        program.stop()
    finally:
        program.kill()
    return {"first_decision_ms": round((first - begun - join) * 1000), "group_join_ms": round(join * 1000),
            "idle_rss_mib": round(idle, 1)}


def start(stage):
    start_once(stage)  # warms the machine's caches
    return medians([start_once(stage) for _ in range(3)])


# --- one round, and its report ---------------------------------------------------------------------------------------

def one_round(stage, number, only, quick):
    folder = stage.directory / f"payloads-{number}"
    verdict = take_payloads(stage, folder)
    results = {}
    if "parts" in only:
        say("the parts alone, CPU us")
        results["parts"] = parts(stage, folder, quick)
    if "worker" in only:
        say("the worker, exactly once")
        results["worker"] = {}
        for latency_ms, in_flight in QUICK if quick else [(ms, n) for ms in LATENCY_MS for n in IN_FLIGHT]:
            row = worker_cell(stage, latency_ms, in_flight, quick)
            of = results.get("parts", {}).get(str(in_flight))
            if of:
                row["ratio_to_parts"] = round(row["cpu_us_per_decision"] / of["sum"], 2)
            results["worker"][f"{latency_ms}/{in_flight}"] = row
            say(f"  {latency_ms:>5} ms, {in_flight:>5} in flight: {row}")
        cells = results["worker"]
        if "200/5000" in cells and "200/100" in cells:
            results["growth"] = round(cells["200/5000"]["cpu_us_per_decision"] / cells["200/100"]["cpu_us_per_decision"], 2)
    if "tls" in only:
        latency_ms, in_flight = TLS
        results["tls"] = {f"{latency_ms}/{in_flight}": tls_cell(stage, latency_ms, in_flight, quick)}
        say(f"the worker over TLS: {results['tls']}")
    if "comparison" in only:
        say("the comparison worker in Python, at-least-once")
        check_comparison(stage, folder, verdict)
        results["comparison"] = {}
        for latency_ms, in_flight in [(200, 1000)] if quick else COMPARED:
            row = comparison_cell(stage, folder, latency_ms, in_flight)
            of = results.get("worker", {}).get(f"{latency_ms}/{in_flight}")
            if of:
                row["ratio_to_worker"] = round(row["cpu_us_per_decision"] / of["cpu_us_per_decision"], 1)
            results["comparison"][f"{latency_ms}/{in_flight}"] = row
            say(f"  {latency_ms:>5} ms, {in_flight:>5} in flight: {row}")
        for name, options in COMPARED_OTHERWISE.items():
            results[name] = comparison_cell(stage, folder, 200, 1000, **options)
            say(f"    200 ms,  1000 in flight, {name}: {results[name]}")
    stage.delete_topics()
    if "backlog" in only:
        results["backlog"] = backlog(stage, stage.directory / f"shortcut-{number}", BACKLOG // 10 if quick else BACKLOG)
        say(f"a backlog decided by a shortcut: {results['backlog']}")
    if "start" in only:
        results["start"] = start(stage)
        say(f"start: {results['start']}")
    stage.delete_topics()
    return results


def medians(rounds):
    """Of equal trees: the same tree with the median of each number."""
    if isinstance(rounds[0], dict):
        return {name: medians([r[name] for r in rounds]) for name in rounds[0]}
    return round(statistics.median(rounds), 2)


def table(results):
    columns = [("decisions/s", "decisions_per_s"), ("CPU us", "cpu_us_per_decision"), ("x parts", "ratio_to_parts"),
               ("RSS MiB", "peak_rss_mib"), ("at once", "most_at_once"), ("paced/s", "paced_per_s"),
               ("+p50 ms", "added_p50_ms"), ("+p99 ms", "added_p99_ms"), ("+p99.9", "added_p999_ms")]
    say(f"\n{'':12}{'model ms':>9}{'in flight':>10}" + "".join(f"{title:>12}" for title, _ in columns))
    for kind in ("worker", "tls", "comparison"):
        for cell, row in results.get(kind, {}).items():
            latency_ms, in_flight = cell.split("/")
            say(f"{kind:12}{latency_ms:>9}{in_flight:>10}" + "".join(f"{row.get(name, ''):>12}" for _, name in columns)
                + (f"   {row['ratio_to_worker']} times the worker's CPU" if "ratio_to_worker" in row else ""))
    say("")
    for what, value, bound, met in TARGETS:
        try:
            v = value(results)
        except KeyError:
            continue
        say(f"  {'met   ' if met(v) else 'MISSED'} {what}: {v} ({bound})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    only = args.only or ("parts,worker,comparison,backlog,start" if args.quick else "parts,worker,tls,comparison,backlog,start")
    out = paths.BUILD / "bench"
    shutil.rmtree(out / "run", ignore_errors=True)
    (out / "run").mkdir(parents=True)
    begun = time.monotonic()
    with bench.Stage(out / "run") as stage:
        rounds = [one_round(stage, n, only.split(","), args.quick) for n in range(args.repeat)]
    results = {**medians(rounds), "rounds": args.repeat}
    table(results)
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    say(f"\n{out / 'results.json'}; {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
