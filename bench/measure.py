"""One run of one peer under one load: what it cost, carried and added. Every function returns a
dictionary of figures, whose names carry their units; results.py says what is done with them.

A peer that acknowledges early is waited for: its CPU counts until every sample has reached the
sink, which decodes and counts for that (it shares the load generator's CPU, not the peer's).
"""

import contextlib
import pathlib
import tempfile
import time

import harness
import peers
import scenarios

WARM_UP_SECONDS = 0.5
DRAIN_SECONDS = 60
STEP_MS = 1000
AHEAD_MS = 60_000  # Prometheus passes on only what is younger than itself
# The warm-up's requests of one sender fit below this number; then come those that are measured.
WARM_UP_REQUESTS_MAX = 4000


class Bed:
    """A sink and a peer before it, both running, for one run. A context manager."""

    def __init__(self, peer, scenario, options):
        self.peer = peer
        self.scenario = scenario
        self.options = options
        self.process = None
        self.first_ms = int(time.time() * 1000) + AHEAD_MS
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            self.sink = stack.enter_context(
                harness.Sink(
                    self.options.build, folder, *self.sink_options(), core=self.options.cores.load
                )
            )
            address = self.sink.address
            if self.peer.command is not None:
                setting = peers.Setting(
                    self.options.build,
                    folder,
                    harness.free_port(),
                    self.sink.address,
                    self.scenario.proxy_flags,
                )
                command = harness.pinned(self.peer.command(setting), self.options.cores.peer)
                self.process = stack.enter_context(
                    harness.Process(command, folder, self.peer.name)
                )
                self.process.wait_for_port(setting.port)
                address = f"127.0.0.1:{setting.port}"
            self.url = f"http://{address}{self.peer.path}"
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def sink_options(self):
        if not self.peer.acknowledges_early:
            return self.scenario.sink
        return (*self.scenario.sink, "--verify", f"--t0={self.first_ms}", f"--step={STEP_MS}")

    def load(self, seconds, *further, measured=True):
        """Run the load generator; returns its report. Every request has to be answered 2xx."""
        times = ()
        if self.peer.acknowledges_early:  # which looks at timestamps: none may come twice
            first_ms = self.first_ms + (WARM_UP_REQUESTS_MAX * STEP_MS if measured else 0)
            times = ("--unique", f"--t0={first_ms}", f"--step={STEP_MS}")
        code, report = harness.run_loadgen(
            self.options.build,
            self.url,
            *self.scenario.load(),
            *times,
            f"--seconds={seconds}",
            *further,
            core=self.options.cores.load,
        )
        if self.process is not None:
            self.process.check()
        if code != 0:
            raise harness.BenchError(
                f"not every request was answered 2xx: {report['status']}, "
                f"{report['unanswered']} unanswered, {report['first_refusal']!r}"
            )
        return report

    def drain(self, samples):
        """Wait until a peer that acknowledges early has passed on so many samples."""
        if not self.peer.acknowledges_early:
            return
        end = time.monotonic() + DRAIN_SECONDS
        while (arrived := self.sink.stats()["samples"]) < samples:
            if time.monotonic() > end:
                raise harness.BenchError(f"{arrived} of {samples} samples reached the sink")
            self.process.check()
            time.sleep(0.02)

    def cpu_ns(self):
        return 0 if self.process is None else harness.cpu_ns(self.process.pid)

    def rss_mib(self):
        return 0 if self.process is None else harness.peak_rss_kib(self.process.pid) / 1024


def latencies(report):
    """Latency figures of the load generator's report [ms]."""
    return {
        f"{name.replace('.', '')}_ms": report["latency_us"][name] / 1e3
        for name in ("p50", "p99", "p99.9")
    }


def closed_loop(peer, scenario, options):
    """As much as the peer carries."""
    with Bed(peer, scenario, options) as bed:
        seconds = options.seconds * scenario.share / (2 if peer.acknowledges_early else 1)
        sent = bed.load(WARM_UP_SECONDS, measured=False)["samples_sent"]
        bed.drain(sent)
        posts, cpu, began = bed.sink.stats()["posts"], bed.cpu_ns(), time.monotonic()
        report = bed.load(seconds)
        bed.drain(sent + report["samples_sent"])
        took = time.monotonic() - began if peer.acknowledges_early else report["duration_s"]
        cpu = bed.cpu_ns() - cpu
        samples = report["samples_acknowledged"]
        return {
            "cpu_ns_per_sample": cpu / samples,
            "cpu_us_per_request": cpu / 1e3 / report["requests"],
            "cores": cpu / 1e9 / took,
            "requests_per_s": report["requests"] / took,
            "samples_per_s": samples / took,
            "rss_mib": bed.rss_mib(),
            "posts_per_request": (bed.sink.stats()["posts"] - posts) / report["requests"],
            **latencies(report),
        }


def open_loop(peer, scenario, options, rate):
    """Latencies at a fixed rate [requests/s]."""
    with Bed(peer, scenario, options) as bed:
        bed.load(WARM_UP_SECONDS, f"--rate={rate}", measured=False)
        posts, cpu = bed.sink.stats()["posts"], bed.cpu_ns()
        report = bed.load(options.seconds * 2, f"--rate={rate}")
        return {
            "rate": rate,
            "cpu_us_per_request": (bed.cpu_ns() - cpu) / 1e3 / report["requests"],
            "posts_per_request": (bed.sink.stats()["posts"] - posts) / report["requests"],
            **latencies(report),
        }


def half_load(scenario, options, known):
    """Half of what agent-proxy carries in a closed loop of the same shape [requests/s]."""
    shape = scenarios.Scenario(scenario.name, scenario.series, scenario.connections)
    figures = closed_loop(known["agent-proxy"], shape, options)
    return round(figures["requests_per_s"] / 2)
