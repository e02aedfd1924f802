"""Processes of a benchmark: starting, pinning, waiting, measuring and ending them.

Every process started here is ended here, by its own pid.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
READY_SECONDS = 15
STOP_SECONDS = 10


class BenchError(Exception):
    """What the user has to know, in one line."""


def end_children_on_term():
    """Let SIGTERM unwind, so that every context manager ends what it has started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def free_port():
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tool(build, name):
    """The path of a program that `make bench-tools` has built."""
    path = pathlib.Path(build) / "bench" / name
    if not path.exists():
        raise BenchError(f"{path} is missing: run `make bench-tools`")
    return str(path)


def installed(name, package):
    """The path of a Debian program, also where only root looks for it."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise BenchError(f"{name} is missing: `make bench-peers` installs Debian's {package}")
    return path


@dataclasses.dataclass
class Cores:
    """Which CPUs load generator and sink get, and which the program that is measured. None: any."""

    load: str | None
    peer: str | None

    @staticmethod
    def split():
        """One for the measured program, one for the rest; nothing is pinned where there is one."""
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            return Cores(None, None)
        return Cores(str(cpus[0]), str(cpus[1]))


def pinned(command, core):
    """The command on the CPUs of a list; as it is without one."""
    if core is None:
        return list(command)
    return ["taskset", "-c", core, *command]


def children(pid):
    """A process and all that come from it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += children(int(child))
    return found


def cpu_ns(pid):
    """CPU time of a process, of its threads and of its children, user and system [ns].

    From schedstat, since the ticks of /proc/PID/stat are too coarse for short runs.
    """
    total = 0
    for member in children(pid):
        for task in pathlib.Path(f"/proc/{member}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += int((task / "schedstat").read_text().split()[0])
    return total


def peak_rss_kib(pid):
    """The most memory that a process and its children have had resident [KiB]."""
    total = 0
    for member in children(pid):
        with contextlib.suppress(FileNotFoundError):
            for line in pathlib.Path(f"/proc/{member}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1])
    return total


class Process:
    """A child process whose output goes to a file in the run's folder."""

    def __init__(self, command, folder, name, environment=None):
        self.name = name
        self.log = pathlib.Path(folder) / f"{name}.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )

    @property
    def pid(self):
        return self.child.pid

    def check(self):
        """Raise when it has ended by itself."""
        if self.child.poll() is not None:
            tail = self.log.read_text(errors="replace").strip().splitlines()[-3:]
            raise BenchError(
                f"{self.name} ended with code {self.child.returncode}: {' | '.join(tail)}"
            )

    def wait_for_port(self, port):
        """Wait until something accepts connections on a port of loopback."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            self.check()
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            time.sleep(0.05)
        raise BenchError(f"{self.name} does not listen on port {port}")

    def wait_for_line(self, start):
        """Wait for a line of output that begins so; returns what follows."""
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            for line in self.log.read_text(errors="replace").splitlines():
                if line.startswith(start):
                    return line[len(start) :].strip()
            self.check()
            time.sleep(0.02)
        raise BenchError(f"{self.name} does not print '{start}'")

    def stop(self, number=signal.SIGTERM):
        """End it, and forcibly when it does not."""
        if self.child.poll() is None:
            self.child.send_signal(number)
            try:
                self.child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.child.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Sink(Process):
    """The gateway stand-in; its address is known once this returns."""

    def __init__(self, build, folder, *options, core=None, name="sink"):
        command = [tool(build, "sink"), *options]
        super().__init__(pinned(command, core), folder, name)
        try:
            self.address = self.wait_for_line("listening ")
        except BaseException:
            self.stop()
            raise

    def get(self, path):
        """The text of one of its GET paths."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
                return answer.read().decode()
        except OSError as error:
            raise BenchError(f"the sink does not answer GET {path}: {error}") from error

    def stats(self):
        return json.loads(self.get("/stats"))


def run_loadgen(build, url, *options, core=None, timeout=600, on_mark=None):
    """Run the load generator to its end. Returns its exit code and what it reports.

    on_mark is called with its pid twice while all connections are open: when the warm-up, which
    options then have to ask for, is over, and when what is reported has been counted.
    """
    command = [tool(build, "loadgen"), f"--url={url}", *options, *(["--hold"] if on_mark else [])]
    with subprocess.Popen(
        pinned(command, core),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        guard = threading.Timer(timeout, child.kill)
        guard.start()
        output = ""
        try:
            for _ in range(2 if on_mark else 0):  # "warm", then the report
                line = child.stdout.readline()
                output += line
                if line:
                    on_mark(child.pid)
            rest, errors = child.communicate()
        except BaseException:
            child.kill()
            raise
        finally:
            guard.cancel()
    lines = (output + rest).splitlines()
    if child.returncode not in (0, 1) or not lines:
        raise BenchError(f"loadgen: code {child.returncode}: {errors.strip()}")
    return child.returncode, json.loads(lines[-1])


def metric(port, name):
    """A metric without labels of a program on loopback, by its /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
    raise BenchError(f"no metric {name} on port {port}")
