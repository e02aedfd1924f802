"""What the project has to reach, one line each: the figure, what it is compared with, the verdict.

Everything is a median of one bench, compared with medians of the same bench.
"""

import dataclasses

import scenarios

NOT_MEASURED = "not measured"


@dataclasses.dataclass
class Line:
    what: str
    figure: str = NOT_MEASURED
    reached: bool | None = None  # None: not measured
    goal: bool = False  # beyond what has to be reached

    @property
    def verdict(self):
        if self.reached is None:
            return NOT_MEASURED
        return "reached" if self.reached else "missed"


def cheaper(results, scenario, other, times, wanted):
    """The proxy costs at most 1/times of another."""
    line = Line(wanted)
    own = results.figure("cost", scenario, "agent-proxy", "cpu_ns_per_sample")
    its = results.figure("cost", scenario, other, "cpu_ns_per_sample")
    if own and its:
        line.figure = f"{own:.1f} against {its:.1f} ns a sample: {its / own:.1f} times fewer"
        line.reached = its / own >= times
    return line


def at_most(results, scenario, other, limit, wanted, goal=False):
    """The proxy costs at most limit times as much as another."""
    line = Line(wanted, goal=goal)
    own = results.figure("cost", scenario, "agent-proxy", "cpu_ns_per_sample")
    its = results.figure("cost", scenario, other, "cpu_ns_per_sample")
    if own and its:
        line.figure = f"{own:.1f} against {its:.1f} ns a sample: ratio {own / its:.2f}"
        line.reached = own / its <= limit
    return line


def memory(results):
    line = Line("RSS at saturation, 64 connections of 2,000 samples: under 20 MiB")
    rss = results.figure("cost", "2000x64", "agent-proxy", "rss_mib")
    if rss:
        line.figure = f"{rss:.1f} MiB"
        line.reached = rss < 20
    return line


def added(results, scenario, peer, name):
    """Latency that a peer adds to going direct [ms], or None."""
    with_peer = results.figure("latency", scenario, peer, name)
    direct = results.figure("latency", scenario, "direct", name)
    return None if with_peer is None or direct is None else with_peer - direct


def latency(results, scenario, what):
    line = Line(what)
    p99_ms = added(results, scenario, "agent-proxy", "p99_ms")
    if p99_ms is not None:
        line.figure = f"{p99_ms:.2f} ms"
        line.reached = p99_ms < 1
        # How much of it is the machine's.
        beside = ("nginx", "floor", scenarios.AGAIN)
        others = {peer: added(results, scenario, peer, "p99_ms") for peer in beside}
        others = [f"{peer} {ms:.2f}" for peer, ms in others.items() if ms is not None]
        if others:
            line.figure += f" ({', '.join(others)})"
    return line


def container(results):
    line = Line("150m CPU, 300 MiB: 300,000 samples/s with p99 under 1 s and no error")
    figures = results.median("container", "300,000 samples/s", "agent-proxy")
    if figures:
        line.figure = (
            f"{figures['samples_per_s']:,.0f} samples/s, p99 {figures['p99_ms']:.0f} ms, "
            f"{figures['errors']:.0f} errors"
        )
        # The last answers come after the last request was due: that is not a lower rate.
        line.reached = (
            figures["samples_per_s"] >= 0.98 * 300_000
            and figures["p99_ms"] < 1000
            and figures["errors"] == 0
        )
    return line


def changes(results, part, counts, own, base, base_count=None):
    """How much more a sample costs one peer than another, by the number of connections; the other
    with as many, or always with base_count.
    """

    def cost(peer, count):
        return results.figure(part, f"{part}-{count}", peer, "cpu_ns_per_sample")

    found = {count: (cost(own, count), cost(base, base_count or count)) for count in counts}
    return {count: its / other - 1 for count, (its, other) in found.items() if its and other}


def within(line, own, others):
    """Fill a line with changes that have to be within 5 %, and with those of others beside them."""

    def listed(by_count):
        return ", ".join(f"{change:+.1%} at {count}" for count, change in by_count.items())

    if own:
        line.figure = listed(own)
        line.reached = max(abs(change) for change in own.values()) <= 0.05
        others = [f"{peer} {listed(its)}" for peer, its in others.items() if its]
        if others:
            line.figure += f" ({'; '.join(others)})"
    return line


def again(results, part, counts):
    """How much the same program differs from itself with as many connections."""
    return {scenarios.AGAIN: changes(results, part, counts, scenarios.AGAIN, "agent-proxy")}


def connections(results):
    counts = [count for count in scenarios.CONNECTIONS if 8 < count <= 512]
    own, *others = (
        changes(results, "connections", counts, peer, peer, 8)
        for peer in ("agent-proxy", "nginx", "floor")
    )
    # Bodies of many connections lie in no cache: what others pay for that.
    return within(
        Line("CPU per sample within 5 % from 8 to 512 connections"),
        own if 512 in own else {},
        {**dict(zip(("nginx", "floor"), others)), **again(results, "connections", [8, *counts])},
    )


def workers(results):
    counts = scenarios.WORKERS_CONNECTIONS
    own = changes(results, "workers", counts, "agent-proxy-2w", "agent-proxy")
    # What two processes with nothing in common pay for the same core.
    floor = changes(results, "workers", counts, "floor-2p", "floor")
    return within(
        Line("CPU per sample within 5 % with 2 workers (8: all with the first)"),
        own if len(own) == len(counts) else {},
        {"floor": floor, **again(results, "workers", counts)},
    )


def lines(results):
    """All targets, in the order in which the project states them."""
    large, small = "2000x8", "100x64"
    return [
        cheaper(results, large, "vmagent", 10, f"{large}: 10 times fewer CPU than vmagent"),
        cheaper(results, large, "prometheus", 10, f"{large}: 10 times fewer than Prometheus"),
        at_most(results, large, "floor", 1.25, f"{large}: at most 1.25 times the floor"),
        at_most(results, large, "nginx", 2.5, f"{large}: at most 2.5 times nginx"),
        at_most(results, large, "nginx", 1.5, f"{large}: at most 1.5 times nginx", True),
        cheaper(results, small, "vmagent", 6, f"{small}: 6 times fewer CPU than vmagent"),
        at_most(results, small, "nginx", 1, f"{small}: below nginx"),
        at_most(results, small, "nginx", 0.75, f"{small}: three quarters of nginx", True),
        memory(results),
        latency(results, "apart-2000x8", f"added p99 at half load, {large}: under 1 ms"),
        latency(results, "apart-100x64", f"added p99 at half load, {small}: under 1 ms"),
        latency(results, "latency-2000x8", f"added p99, one CPU half busy, {large}: under 1 ms"),
        latency(results, "latency-100x64", f"added p99, one CPU half busy, {small}: under 1 ms"),
        latency(results, "slow-sender", "added p99 with one slow sender: under 1 ms, no lingering"),
        container(results),
        connections(results),
        workers(results),
    ]


def all_reached(results):
    """True when nothing that has to be reached was missed or left out. Goals may be."""
    return all(line.reached for line in lines(results) if not line.goal)
