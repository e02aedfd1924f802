"""The figures of all runs: kept, turned into medians, written to files and read back.

A key is (part, scenario, peer). Runs that failed keep their reason and count for nothing else.
"""

import csv
import datetime
import json
import os
import pathlib
import statistics


def machine():
    """The CPU's model, the number of CPUs and the kernel."""
    model = "unknown CPU"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {os.cpu_count()} CPUs, Linux {os.uname().release}"


class Results:
    """All figures of one bench, by key."""

    def __init__(self, command, network="", options=None):
        self.about = {
            "machine": machine(),
            "network": network,
            "date": datetime.date.today().isoformat(),
            "command": command,
            "options": options or {},
        }
        self.runs = {}  # key: list of figures
        self.failures = []  # (key, reason)
        self.skipped = []  # lines

    def add(self, key, figures):
        self.runs.setdefault(key, []).append(figures)

    def fail(self, key, reason):
        self.failures.append((key, reason))

    def median(self, part, scenario, peer):
        """Medians of all figures of a key, with the spread of its CPU; None without a run."""
        runs = self.runs.get((part, scenario, peer))
        if not runs:
            return None
        medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for name in ("cpu_ns_per_sample", "cpu_us_per_request"):
            if medians.get(name):
                costs = [run[name] for run in runs]
                medians["spread"] = (max(costs) - min(costs)) / 2 / medians[name]
                break
        return medians

    def figure(self, part, scenario, peer, name):
        """One median, or None."""
        medians = self.median(part, scenario, peer)
        return None if medians is None else medians.get(name)

    def scenarios(self, part):
        """Names of a part's scenarios, in the order of their runs."""
        return list(dict.fromkeys(key[1] for key in self.runs if key[0] == part))

    def peers(self, part, scenario):
        return list(
            dict.fromkeys(key[2] for key in self.runs if key[:2] == (part, scenario))
        )

    def write(self, folder):
        """runs.csv, medians.csv and results.json, none rounded: a table rounds once, from them."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "runs.csv").open("w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(("part", "scenario", "peer", "run", "figure", "value"))
            for key, runs in self.runs.items():
                for number, run in enumerate(runs, 1):
                    for name, value in run.items():
                        out.writerow((*key, number, name, value))
        with (folder / "medians.csv").open("w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(("part", "scenario", "peer", "figure", "median"))
            for key in self.runs:
                for name, value in self.median(*key).items():
                    out.writerow((*key, name, value))
        everything = {
            "about": self.about,
            "runs": [[list(key), runs] for key, runs in self.runs.items()],
            "failures": [[list(key), reason] for key, reason in self.failures],
            "skipped": self.skipped,
        }
        (folder / "results.json").write_text(json.dumps(everything, indent=1) + "\n")

    @staticmethod
    def read(folder):
        """What write() has written. Raises OSError without a file."""
        everything = json.loads((folder / "results.json").read_text())
        results = Results("")
        results.about = everything["about"]
        results.runs = {tuple(key): runs for key, runs in everything["runs"]}
        results.failures = [(tuple(key), reason) for key, reason in everything["failures"]]
        results.skipped = everything["skipped"]
        return results
