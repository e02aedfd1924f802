"""Results as SVG charts, drawn by gnuplot from data that is written beside them."""

import shutil
import subprocess

import scenarios
import tables

BARS = ("2000x8", "500x32", "100x64", "20x256")
STYLE = """set terminal svg size 900,480 font 'sans,13' background 'white'
set output '{name}.svg'
set title '{title}'
set ylabel '{axis}'
set grid ytics lc rgb '#dddddd'
set key outside right top
set datafile missing '-'
"""


def matrix(folder, name, head, rows):
    """A data file: names in the first row, a name or a number in the first column."""
    lines = ["\t".join(f'"{column}"' for column in head)]
    for first, *figures in rows:
        lines.append("\t".join((f'"{first}"' if isinstance(first, str) else str(first), *figures)))
    (folder / f"{name}.dat").write_text("\n".join(lines) + "\n")


def draw(folder, name, title, axis, commands):
    """Run gnuplot in the folder of the results. False when it cannot draw this."""
    script = STYLE.format(name=name, title=title, axis=axis) + commands + "\n"
    (folder / f"{name}.gp").write_text(script)
    done = subprocess.run(
        ["gnuplot", f"{name}.gp"], cwd=folder, stdin=subprocess.DEVNULL, check=False
    )
    return done.returncode == 0


def value(figure):
    return "-" if figure is None else f"{figure:.6g}"


def bars(results, folder, name, title, axis, part, names, figure, scale=1):
    """Groups of bars, one group for each scenario and a bar for each peer; a logarithmic axis."""
    names = [entry for entry in names if entry in results.scenarios(part)]
    peers = list(dict.fromkeys(peer for entry in names for peer in results.peers(part, entry)))
    if not names:
        return False
    rows = []
    for entry in names:
        figures = (results.figure(part, entry, peer, figure) for peer in peers)
        rows.append([entry, *(value(None if f is None else f / scale) for f in figures)])
    matrix(folder, name, ["scenario", *peers], rows)
    commands = (
        "set style data histogram\nset style histogram cluster gap 1\nset style fill solid 0.8\n"
        "set logscale y\n"
        f"plot for [i=2:{len(peers) + 1}] '{name}.dat' using i:xtic(1) title columnheader(i)"
    )
    return draw(folder, name, title, axis, commands)


def curve(results, folder, part, title, points):
    """CPU per sample against a number, a line for each peer."""
    names = results.scenarios(part)
    peers = list(dict.fromkeys(peer for name in names for peer in results.peers(part, name)))
    if not names:
        return False
    rows = []
    for point in points:
        figures = (
            results.figure(part, f"{part}-{point}", peer, "cpu_ns_per_sample") for peer in peers
        )
        rows.append([point, *map(value, figures)])
    matrix(folder, part, [part, *peers], rows)
    commands = (
        f"set logscale x\nset xlabel '{tables.CURVE_OVER[part]}'\nset yrange [0:*]\n"
        f"plot for [i=2:{len(peers) + 1}] '{part}.dat' using 1:i with linespoints lw 2 "
        "title columnheader(i)"
    )
    return draw(folder, part, title, "CPU ns per sample", commands)


def write(results, folder):
    """All charts that there are figures for. Returns their names; [] without gnuplot."""
    if shutil.which("gnuplot") is None:
        return []
    cpu = "CPU ns per sample"
    drawn = {
        "cpu": bars(results, folder, "cpu", "CPU per sample", cpu, "cost", BARS,
                    "cpu_ns_per_sample"),
        "throughput": bars(results, folder, "throughput", "Throughput, one core for the program",
                           "million samples/s", "cost", BARS, "samples_per_s", 1e6),
        "memory": bars(results, folder, "memory", "Peak resident memory", "MiB", "cost", BARS,
                       "rss_mib"),
        "latency": bars(results, folder, "latency", "p99 latency at a fixed rate", "ms", "latency",
                        results.scenarios("latency"), "p99_ms"),
        "gateways": bars(results, folder, "gateways", "CPU of the gateway", cpu, "gateways",
                         results.scenarios("gateways"), "cpu_ns_per_sample"),
        "connections": curve(results, folder, "connections", "500 samples a request",
                             scenarios.CONNECTIONS),
        "workers": curve(results, folder, "workers", "500 samples a request, one and two workers",
                         scenarios.WORKERS_CONNECTIONS),
        "sizes": curve(results, folder, "sizes", "16 connections, by samples of a request",
                       scenarios.SIZES),
    }  # fmt: skip
    return [f"{name}.svg" for name, done in drawn.items() if done]
