"""Checks of the comparison for smoke.py: short runs with peers of this repository only, and how
results become medians, tables and verdicts. A figure's size is judged by nobody here.
"""

import argparse
import contextlib
import csv
import subprocess
import sys

import container
import gateways
import harness
import measure
import peers
import results
import scenarios
import tables
import targets


def expect(what, got, wanted):
    """Raise unless the two are equal."""
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, want {wanted!r}")


def compare(run, *options, environment=None):
    """Run bench/compare into the run's folder; returns its exit code and output."""
    done = subprocess.run(
        [
            str(harness.ROOT / "bench/compare"),
            f"--build={run.build}",
            f"--results={run.folder}/results",
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def check_compare_writes_what_it_prints(run):
    code, text = compare(
        run,
        "--seconds=0.1",
        "--repeats=2",
        "--scenarios=100x64 workers slow-sender container",
        "--peers=floor,agent-proxy",
    )
    expect(f"exit code; output: {text}", code, 0)
    with (run.folder / "results/medians.csv").open() as file:
        rows = {tuple(row[:4]): row[4] for row in csv.reader(file)}
    cost = float(rows["cost", "100x64", "agent-proxy", "cpu_ns_per_sample"])
    line = next(line for line in text.splitlines() if line.startswith("agent-proxy "))
    expect("printed cost", line.split()[3], f"{cost:.1f}")
    for key in (
        ("cost", "100x64", "floor", "rss_mib"),
        ("workers", "workers-512", "agent-proxy-2w", "cpu_us_per_request"),
        ("latency", "slow-sender", "direct", "p999_ms"),
    ):
        if key not in rows:
            raise AssertionError(f"{key} was not measured")
    if not container.skipped():
        errors = rows["container", "300,000 samples/s", "agent-proxy", "errors"]
        expect("errors", float(errors), 0)
    readme = (run.folder / "results/README-table.md").read_text()
    if f"| agent-proxy | {cost:.1f} |" not in readme:
        raise AssertionError(f"README-table.md lacks {cost:.1f}: {readme}")
    code, text = compare(run, "--check")
    expect("code of a check with targets that were not measured", code, 1)
    expect("lines", text.count("\n") > len(targets.lines(results.Results(""))), True)


def check_a_stall_is_seen_in_latencies(run):
    cores = harness.Cores.split()
    if measure.cannot_stall(cores):
        return
    scenario = scenarios.OpenScenario("stalled", 100, 8, together=False, stalls=True)
    options = argparse.Namespace(build=run.build, seconds=0.1, cores=cores)
    figures = measure.open_loop(peers.known_peers({})["floor"], scenario, options, 2000)
    expect("p99.9 reaches into a stall", figures["p999_ms"] > scenarios.STALL_MS / 2, True)


def check_figures_are_kept_whole(run):
    # Rounded to a file and again from it, 202.2500001 would be another figure than in a table.
    key, cost = ("cost", "100x64", "agent-proxy"), 202.2500001
    found = results.Results("test")
    found.add(key, {"cpu_ns_per_sample": cost})
    found.write(run.folder)
    for name in ("runs.csv", "medians.csv"):
        with (run.folder / name).open() as file:
            values = [row[-1] for row in csv.reader(file) if "cpu_ns_per_sample" in row]
        expect(name, [float(value) for value in values], [cost])
    read = results.Results.read(run.folder)
    expect("read back", read.figure(*key, "cpu_ns_per_sample"), cost)


def check_compare_takes_an_extra_peer(run):
    floor = harness.tool(run.build, "floor")
    environment = {
        "EXTRA_PEER": f"mine {floor} --listen=127.0.0.1:{{port}} --upstream={{upstream}}",
        "PATH": "/usr/bin:/bin",
    }
    code, text = compare(
        run,
        "--seconds=0.1",
        "--repeats=1",
        "--scenarios=100x64",
        "--peers=floor",
        environment=environment,
    )
    expect(f"exit code; output: {text}", code, 0)
    expect("its line", text.count("\nmine "), 1)


def check_compare_goes_on_after_a_failure(run):
    environment = {"EXTRA_PEER": "broken /bin/false {port}", "PATH": "/usr/bin:/bin"}
    code, text = compare(
        run,
        "--seconds=0.1",
        "--repeats=2",
        "--scenarios=100x64",
        "--peers=floor",
        environment=environment,
    )
    expect("exit code", code, 1)
    expect("other peers", text.count("\nfloor "), 1)
    # When it happened, and at the end.
    expect("notes", text.count("failed: cost, 100x64, broken: broken ended with code 1"), 2)
    code, text = compare(run, "--scenarios=none")
    expect("code for an unknown scenario", code, 2)
    expect("its message", text.startswith("compare: unknown scenario 'none'"), True)


def reaching():
    """Results that reach each target just so."""
    found = results.Results("test")

    def add(part, scenario, peer, **figures):
        found.add((part, scenario, peer), figures)

    costs = {"vmagent": 1000, "prometheus": 1000, "floor": 80, "nginx": 200 / 3, "agent-proxy": 100}
    for peer, cost in costs.items():
        add("cost", "2000x8", peer, cpu_ns_per_sample=cost)
    for peer, cost in {"vmagent": 600, "nginx": 400 / 3, "agent-proxy": 100}.items():
        add("cost", "100x64", peer, cpu_ns_per_sample=cost)
    add("cost", "2000x64", "agent-proxy", rss_mib=19.9)
    for count in scenarios.WORKERS_CONNECTIONS:
        add("workers", f"workers-{count}", "agent-proxy", cpu_ns_per_sample=100)
        add("workers", f"workers-{count}", "agent-proxy-2w", cpu_ns_per_sample=104.9)
    for scenario in (scenario.name for group in scenarios.OPEN.values() for scenario in group):
        add("latency", scenario, "direct", p99_ms=3.0)
        add("latency", scenario, "agent-proxy", p99_ms=3.99)
    for count in scenarios.CONNECTIONS:
        cost = 100 if 8 <= count < 512 else 95.5 if count == 512 else 300
        add("connections", f"connections-{count}", "agent-proxy", cpu_ns_per_sample=cost)
        add("connections", f"connections-{count}", scenarios.AGAIN, cpu_ns_per_sample=cost * 1.2)
    add(
        "container", "300,000 samples/s", "agent-proxy",
        samples_per_s=299_000, p99_ms=999, errors=0,
    )  # fmt: skip
    return found


def check_targets_are_judged_at_their_limits(run):
    found = reaching()
    expect("missed", [line.what for line in targets.lines(found) if not line.reached], [])
    expect("all", targets.all_reached(found), True)
    line = targets.connections(found).figure
    expect(f"its twin is shown, not judged: {line}", line.count("+20.0% at"), 4)
    # A median of three: one run that is far off changes nothing, two do.
    key = ("latency", "latency-2000x8", "agent-proxy")
    for p99_ms, reached in ((50, False), (3.5, True)):
        found.add(key, {"p99_ms": p99_ms})
        expect(f"after {p99_ms}", targets.latency(found, key[1], "").reached, reached)
    for key, figures in (
        (("cost", "2000x64", "agent-proxy"), {"rss_mib": 20.2}),
        (("workers", "workers-8", "agent-proxy-2w"), {"cpu_ns_per_sample": 107}),
        (("connections", "connections-512", "agent-proxy"), {"cpu_ns_per_sample": 93}),
    ):
        missed = reaching()
        missed.add(key, figures)
        expect(f"{key}", [line.reached for line in targets.lines(missed)].count(False), 1)
    found.write(run.folder)
    again = results.Results.read(run.folder)
    expect("read back", tables.reached(again), tables.reached(found))
    expect("not measured", targets.all_reached(results.Results("")), False)


def check_every_peer_makes_its_configuration(run):
    known = peers.known_peers({"VMAGENT": "/opt/vmagent", "EXTRA_PEER": "x relay {port}"})
    for name, peer in known.items():
        if peer.command is None:
            continue
        try:
            words = peer.command(peers.Setting(run.build, run.folder, 12345, "127.0.0.1:6789"))
        except harness.BenchError as error:
            expect(f"{name}: {error}", "is missing" in str(error), True)
            continue
        files = " ".join(path.read_text() for path in run.folder.iterdir() if path.is_file())
        expect(f"{name}: the port", "12345" in " ".join(words) + files, True)
    expect("VMAGENT", known["vmagent-given"].acknowledges_early, True)
    for gateway in gateways.GATEWAYS:
        with contextlib.suppress(harness.BenchError):
            expect("a command", len(gateway.command(run.folder, 1)) > 1, True)


def check_verify_counts_every_sample(run):
    done = subprocess.run(
        [str(harness.ROOT / "bench/verify"), f"--build={run.build}", "--samples=300000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    expect(f"exit code; output: {done.stdout}", done.returncode, 0)
    figures = {line[:28].strip(): line[28:].strip() for line in done.stdout.splitlines()}
    expect("samples", figures["samples at the sink"], "320,000")
    expect("lost, altered", (figures["lost"], figures["altered"]), ("0", "0"))


CHECKS = {
    name[6:]: check
    for name, check in sorted(vars(sys.modules[__name__]).items())
    if name.startswith("check_")
}
