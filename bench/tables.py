"""Results as text: the tables of the terminal, and the one for README.md."""

import targets

ABSENT = "-"


def number(value, form):
    """A figure as text, or a mark that there is none."""
    return ABSENT if value is None else format(value, form)


def where(results):
    """The machine, its network and the day, in a line."""
    return ", ".join(results.about[name] for name in ("machine", "network", "date"))


def table(head, rows):
    """Columns as wide as they have to be: the first to the left, the others to the right."""
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        first = f"{row[0]:<{widths[0]}}"
        others = (f"{text:>{width}}" for text, width in zip(row[1:], widths[1:]))
        lines.append("  ".join((first, *others)).rstrip())
    return "\n".join(lines)


def ratio(results, part, scenario, peer, base):
    """CPU in units of another peer's."""
    own = results.figure(part, scenario, peer, "cpu_ns_per_sample")
    its = results.figure(part, scenario, base, "cpu_ns_per_sample")
    return f"{own / its:.2f}" if own and its else ABSENT


COST_HEAD = (
    "peer", "CPU us/req", "+-", "ns/sample", "req/s", "Msamples/s", "cores", "RSS MiB", "POSTs/req",
    "p50 ms", "p99 ms", "/nginx", "/floor",
)  # fmt: skip


def cost(results, part, scenario):
    """One scenario of a closed loop, a line for each peer."""
    rows = []
    for peer in results.peers(part, scenario):
        row = results.median(part, scenario, peer)
        rows.append(
            (
                peer,
                f"{row['cpu_us_per_request']:.1f}",
                f"{row['spread']:.0%}",
                f"{row['cpu_ns_per_sample']:.1f}",
                f"{row['requests_per_s']:.0f}",
                f"{row['samples_per_s'] / 1e6:.2f}",
                f"{row['cores']:.2f}",
                f"{row['rss_mib']:.1f}",
                f"{row['posts_per_request']:.2f}",
                f"{row['p50_ms']:.2f}",
                f"{row['p99_ms']:.2f}",
                ratio(results, part, scenario, peer, "nginx"),
                ratio(results, part, scenario, peer, "floor"),
            )
        )
    return table(COST_HEAD, rows)


CURVE_OVER = {"workers": "connections", "connections": "connections", "sizes": "samples"}


def curve(results, part):
    """CPU per sample [ns] of each peer against the number in the scenarios' names."""
    names = results.scenarios(part)
    peers = list(dict.fromkeys(peer for name in names for peer in results.peers(part, name)))
    rows = []
    for name in names:
        costs = (results.figure(part, name, peer, "cpu_ns_per_sample") for peer in peers)
        joined = results.figure(part, name, "agent-proxy", "posts_per_request")
        rss = results.figure(part, name, "agent-proxy", "rss_mib")
        spread = results.figure(part, name, "agent-proxy", "spread")
        rows.append(
            (
                name.rpartition("-")[2],
                *(number(value, ".1f") for value in costs),
                number(spread, ".0%"),
                number(joined, ".2f"),
                number(rss, ".1f"),
            )
        )
    return table((CURVE_OVER[part], *peers, "+-", "POSTs/req", "RSS MiB"), rows)


def latency(results, scenario):
    """What each peer adds to going direct, at a fixed rate."""
    rows = []
    direct = results.median("latency", scenario, "direct")
    for peer in results.peers("latency", scenario):
        row = results.median("latency", scenario, peer)
        points = ("p50_ms", "p99_ms", "p999_ms")
        added = [None if direct is None else row[name] - direct[name] for name in points]
        rows.append(
            (
                peer,
                f"{row['rate']:.0f}",
                *(f"{row[name]:.2f}" for name in points),
                *(ABSENT if peer == "direct" else number(value, "+.2f") for value in added),
                f"{row['cpu_us_per_request']:.1f}",
                f"{row['cores']:.2f}",
                f"{row['all_cores']:.2f}",
            )
        )
    head = (
        "peer", "req/s", "p50 ms", "p99", "p99.9", "added p50", "p99", "p99.9", "CPU us/req",
        "cores", "all",
    )  # fmt: skip
    return table(head, rows)


def gateways(results):
    """CPU of real gateways per sample, without and with the proxy before them."""
    rows = []
    for scenario in results.scenarios("gateways"):
        direct = results.median("gateways", scenario, "direct")
        proxied = results.median("gateways", scenario, "agent-proxy")
        if direct and proxied:
            own, its = proxied["cpu_ns_per_sample"], direct["cpu_ns_per_sample"]
            rows.append(
                (
                    scenario,
                    f"{its:.0f}",
                    f"{own:.0f}",
                    f"{own / its - 1:+.0%}",
                    f"{proxied['posts_per_request']:.2f}",
                )
            )
    return table(("gateway, load", "direct ns/sample", "with proxy", "change", "POSTs/req"), rows)


def container(results):
    rows = []
    for scenario in results.scenarios("container"):
        row = results.median("container", scenario, "agent-proxy")
        rows.append(
            (
                scenario,
                f"{row['samples_per_s']:,.0f}",
                f"{row['errors']:.0f}",
                f"{row['p50_ms']:.1f}",
                f"{row['p99_ms']:.1f}",
                f"{row['cores']:.3f}",
                f"{row['rss_mib']:.1f}",
                f"{row['container_mib']:.1f}",
            )
        )
    head = ("offered", "samples/s", "errors", "p50 ms", "p99 ms", "cores", "RSS MiB", "charged MiB")
    return table(head, rows)


def reached(results):
    """A line for each target, and what failed or was skipped."""
    rows = [
        (line.what, "goal " + line.verdict if line.goal else line.verdict, line.figure)
        for line in targets.lines(results)
    ]
    width, verdict_width = (max(len(row[i]) for row in rows) for i in (0, 1))
    text = [
        f"{what:<{width}}  {verdict:<{verdict_width}}  {figure}" for what, verdict, figure in rows
    ]
    text += [f"failed: {', '.join(key)}: {reason}" for key, reason in results.failures]
    text += [f"skipped: {line}" for line in results.skipped]
    return "\n".join(text)


README_SCENARIOS = ("2000x8", "500x32", "100x64", "20x256")
README_LATENCY = "latency-2000x8"


def readme(results):
    """The table of README.md, in Markdown, with machine, date and command."""
    about = results.about
    shown = [name for name in README_SCENARIOS if name in results.scenarios("cost")]
    peers = list(dict.fromkeys(peer for name in shown for peer in results.peers("cost", name)))
    head = ["program", *(f"{name} ns/sample" for name in shown), "Msamples/s", "RSS MiB"]
    head.append("added p99 ms")
    lines = [
        f"Measured on {where(results)}, by `{about['command']}`:",
        "",
        f"| {' | '.join(head)} |",
        f"| --- |{' ---: |' * (len(head) - 1)}",
    ]
    for peer in peers:
        cells = [peer]
        for name in shown:
            cells.append(number(results.figure("cost", name, peer, "cpu_ns_per_sample"), ".1f"))
        rate = results.figure("cost", "2000x8", peer, "samples_per_s")
        cells.append(number(None if rate is None else rate / 1e6, ".2f"))
        cells.append(number(results.figure("cost", "2000x8", peer, "rss_mib"), ".1f"))
        p99 = results.figure("latency", README_LATENCY, peer, "p99_ms")
        direct = results.figure("latency", README_LATENCY, "direct", "p99_ms")
        cells.append(ABSENT if p99 is None or direct is None else f"{p99 - direct:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "2000x8 is 2,000 samples a request over 8 connections. CPU is that of the program alone,",
        "on one core; throughput, peak memory and the p99 that it adds to going direct, all on one",
        "CPU that is half busy, are those of 2000x8.",
    ]
    return "\n".join(lines) + "\n"
