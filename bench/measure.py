"""One run of one peer under one load: what it cost, carried and added. Every function returns a
dictionary of figures, whose names carry their units; results.py says what is done with them.

What is counted begins when connections are open and warm, and ends while they still are; in a
closed loop it begins and ends in full flow, with as many requests under way. A peer that acknowledges early is waited for instead: its CPU counts until every sample has reached
the sink, which decodes and counts for that (it shares the load generator's CPU, not the peer's).
"""

import contextlib
import dataclasses
import os
import pathlib
import statistics
import tempfile
import time

import harness
import peers
import scenarios

WARM_UP_SECONDS = 0.5  # or as long as a run, if that is less
DRAIN_SECONDS = 60
HALF_LOAD_STEPS = 6
HALF_LOAD_TOLERANCE = 0.03
STEP_MS = 1000
AHEAD_MS = 60_000  # Prometheus passes on only what is younger than itself
# The warm-up's requests of one sender fit below this number; then come those that are measured.
WARM_UP_REQUESTS_MAX = 4000


@dataclasses.dataclass
class Reading:
    """What has been used up to some moment."""

    cpu_ns: int  # of the peer
    all_cpu_ns: int  # of load generator, sink and peer
    posts: int
    at_s: float


class Bed:
    """A sink and a peer before it, both running, for one run. A context manager."""

    def __init__(self, peer, scenario, options):
        self.peer = peer
        self.scenario = scenario
        self.options = options
        self.cores = scenario.cores(options.cores)
        self.process = None
        self.first_ms = int(time.time() * 1000) + AHEAD_MS
        self.warm_up_s = min(WARM_UP_SECONDS, options.seconds)
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.folder = pathlib.Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
            )
            self.sink = stack.enter_context(
                harness.Sink(
                    self.options.build, self.folder, *self.sink_options(), core=self.cores.load
                )
            )
            address = self.sink.address
            if self.peer.command is not None:
                setting = peers.Setting(
                    self.options.build,
                    self.folder,
                    harness.free_port(),
                    self.sink.address,
                    self.scenario.proxy_flags,
                )
                command = harness.pinned(self.peer.command(setting), self.cores.peer)
                self.process = stack.enter_context(
                    harness.Process(command, self.folder, self.peer.name)
                )
                self.process.wait_for_port(setting.port)
                address = f"127.0.0.1:{setting.port}"
            self.url = f"http://{address}{self.peer.path}"
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def stall(self):
        """Take the peer's CPU away now and then, from now on. Returns the process that does."""
        times = (str(scenarios.STALL_MS), str(scenarios.PERIOD_MS))
        command = [harness.ROOT / "bench/stall", self.cores.peer, *times]
        return self.stack.enter_context(harness.Process(command, self.folder, "stall"))

    def sink_options(self):
        if not self.peer.acknowledges_early:
            return self.scenario.sink
        return (*self.scenario.sink, "--verify", f"--t0={self.first_ms}", f"--step={STEP_MS}")

    def load(self, seconds, *further, on_mark=None):
        """Run the load generator; returns its report. Every request has to be answered 2xx."""
        code, report = harness.run_loadgen(
            self.options.build,
            self.url,
            *self.scenario.load(),
            f"--seconds={seconds}",
            *further,
            core=self.cores.load,
            on_mark=on_mark,
        )
        if self.process is not None:
            self.process.check()
        if code != 0 or not report["requests"]:
            raise harness.BenchError(
                f"not every request was answered 2xx: {report['status']}, "
                f"{report['unanswered']} unanswered, {report['first_refusal']!r}"
            )
        return report

    def measure(self, seconds, *further):
        """Load it. Returns the report and the readings before and after what it tells of."""
        if self.peer.acknowledges_early:
            return self.measure_until_arrived(seconds, *further)
        readings = []
        report = self.load(
            seconds,
            f"--warm-up={self.warm_up_s}",
            *further,
            on_mark=lambda loadgen: readings.append(self.read(loadgen)),
        )
        return report, *readings

    def measure_until_arrived(self, seconds, *further):
        """The same of a peer that acknowledges early. It looks at timestamps: none comes twice."""
        times = ("--unique", f"--step={STEP_MS}")
        first = self.load(self.warm_up_s, *times, f"--t0={self.first_ms}", *further)
        self.wait_for(first["samples_sent"])
        before = self.read()
        then_ms = self.first_ms + WARM_UP_REQUESTS_MAX * STEP_MS
        report = self.load(seconds, *times, f"--t0={then_ms}", *further)
        self.wait_for(first["samples_sent"] + report["samples_sent"])
        return report, before, self.read()

    def wait_for(self, samples):
        """Wait until so many samples have reached the sink."""
        end = time.monotonic() + DRAIN_SECONDS
        while (arrived := self.sink.stats()["samples"]) < samples:
            if time.monotonic() > end:
                raise harness.BenchError(f"{arrived} of {samples} samples reached the sink")
            self.process.check()
            time.sleep(0.02)

    def read(self, loadgen=None):
        """What has been used up to now; loadgen is its pid while it runs."""
        cpu_ns = 0 if self.process is None else harness.cpu_ns(self.process.pid)
        others_ns = harness.cpu_ns(self.sink.pid) + (harness.cpu_ns(loadgen) if loadgen else 0)
        at_s = time.monotonic()
        return Reading(cpu_ns, cpu_ns + others_ns, self.sink.stats()["posts"], at_s)

    def rss_mib(self):
        return 0 if self.process is None else harness.peak_rss_kib(self.process.pid) / 1024


def latencies(report):
    """Latency figures of the load generator's report [ms]."""
    return {
        f"{name.replace('.', '')}_ms": report["latency_us"][name] / 1e3
        for name in ("p50", "p99", "p99.9")
    }


def costs(report, before, after):
    """What the requests of a report cost a peer and its gateway."""
    cpu_ns = after.cpu_ns - before.cpu_ns
    return {
        "cpu_ns_per_sample": cpu_ns / report["samples_acknowledged"],
        "cpu_us_per_request": cpu_ns / 1e3 / report["requests"],
        "posts_per_request": (after.posts - before.posts) / report["requests"],
    }


def closed_loop(peer, scenario, options):
    """As much as the peer carries. One that has to be waited for has costs that do not depend on
    the load: it runs longer, so that they weigh less.
    """
    early = peer.acknowledges_early
    with Bed(peer, scenario, options) as bed:
        report, before, after = bed.measure(options.seconds * (2 if early else 1))
        took_s = after.at_s - before.at_s if early else report["duration_s"]
        return {
            **costs(report, before, after),
            "cores": (after.cpu_ns - before.cpu_ns) / 1e9 / took_s,
            "requests_per_s": report["requests"] / took_s,
            "samples_per_s": report["samples_acknowledged"] / took_s,
            "rss_mib": bed.rss_mib(),
            **latencies(report),
        }


def cannot_stall(cores):
    """Why no CPU can be taken away here, or None."""
    can = os.geteuid() == 0 and cores.peer is not None
    return None if can else "needs root and two CPUs"


def open_loop(peer, scenario, options, rate):
    """Latencies at a fixed rate [requests/s]."""
    with Bed(peer, scenario, options) as bed:
        stall = bed.stall() if scenario.stalls else None
        report, before, after = bed.measure(options.seconds * scenario.times, f"--rate={rate}")
        if stall is not None:
            stall.check()
        took_s = after.at_s - before.at_s
        return {
            "rate": rate,
            "cores": (after.cpu_ns - before.cpu_ns) / 1e9 / took_s,
            "all_cores": (after.all_cpu_ns - before.all_cpu_ns) / 1e9 / took_s,
            **costs(report, before, after),
            **latencies(report),
        }


def half_load(scenario, options, known):
    """The rate that is half load [requests/s]: with all on one CPU, that at which agent-proxy and
    what stands around it keep that CPU half busy; else half of the throughput of a closed loop.
    """

    def median(function, figure, *arguments):
        runs = [function(known["agent-proxy"], scenario, options, *arguments) for _ in range(3)]
        return statistics.median(run[figure] for run in runs)

    rate = median(closed_loop, "requests_per_s") / 2
    # A request costs more the fewer come at once, so this takes more than one step.
    for _ in range(HALF_LOAD_STEPS if scenario.together else 0):
        busy = median(open_loop, "all_cores", rate)
        if abs(busy - 0.5) < HALF_LOAD_TOLERANCE:
            break
        rate *= 0.5 / busy
    return max(round(rate), 1)
