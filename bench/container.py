"""agent-proxy in the container that it is made for: a cgroup of 150m CPU and 300 MiB, version 1 or
2, whichever is mounted. Needs root; skipped() says why it cannot be done here.
"""

import contextlib
import os
import pathlib
import signal
import tempfile
import time

import harness
import measure
import peers
import scenarios

CPU_PERIOD_US = 100_000
CPU_QUOTA_US = 15_000
MEMORY_BYTES = 300 << 20
SAMPLES_PER_SECOND = 300_000
SERIES = 2000
CONNECTIONS = 8
MOUNT = pathlib.Path("/sys/fs/cgroup")


class Version2:
    """One folder for both controllers."""

    controllers = ("",)

    @staticmethod
    def usable():
        with contextlib.suppress(OSError):
            enabled = (MOUNT / "cgroup.subtree_control").read_text().split()
            return {"cpu", "memory"} <= set(enabled)
        return False

    limits = (
        ("", "cpu.max", f"{CPU_QUOTA_US} {CPU_PERIOD_US}"),
        ("", "memory.max", str(MEMORY_BYTES)),
    )
    peak = ("", "memory.peak")


class Version1:
    """A folder below each controller."""

    controllers = ("cpu", "memory")

    @staticmethod
    def usable():
        return all((MOUNT / name / "cgroup.procs").exists() for name in Version1.controllers)

    limits = (
        ("cpu", "cpu.cfs_period_us", str(CPU_PERIOD_US)),
        ("cpu", "cpu.cfs_quota_us", str(CPU_QUOTA_US)),
        ("memory", "memory.limit_in_bytes", str(MEMORY_BYTES)),
    )
    peak = ("memory", "memory.max_usage_in_bytes")


def version():
    """Version1, Version2 or None."""
    return next((kind for kind in (Version2, Version1) if kind.usable()), None)


def skipped():
    """Why no container can be made here; "" when one can."""
    if os.geteuid() != 0:
        return "needs root to make a cgroup"
    if version() is None:
        return "no cgroup with cpu and memory controllers"
    return ""


class Container:
    """A cgroup with the limits. A context manager; it ends with all that is in it."""

    def __init__(self):
        self.kind = version()
        self.name = f"agent-proxy-bench-{os.getpid()}"

    def folder(self, controller):
        return MOUNT / controller / self.name

    def __enter__(self):
        for controller in self.kind.controllers:
            self.folder(controller).mkdir()
        for controller, file, value in self.kind.limits:
            (self.folder(controller) / file).write_text(value)
        return self

    def __exit__(self, *_):
        for controller in self.kind.controllers:
            folder = self.folder(controller)
            for pid in (folder / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            for _ in range(100):
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    break
                time.sleep(0.02)

    def wrap(self, command):
        """The command as a member of the cgroup from its first instruction on."""
        join = " && ".join(
            f"echo $$ >'{self.folder(name)}/cgroup.procs'" for name in self.kind.controllers
        )
        return ["sh", "-c", f'{join} && exec "$@"', "sh", *command]

    def memory_mib(self):
        """The most memory that was charged, with the kernel's own for sockets."""
        controller, file = self.kind.peak
        with contextlib.suppress(OSError):
            return int((self.folder(controller) / file).read_text()) / (1 << 20)
        return 0.0


def run(options, *limits):
    """One run of agent-proxy in the container. Returns its figures; refusals do not raise."""
    scenario = scenarios.Scenario("container", SERIES, CONNECTIONS)
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        sink = stack.enter_context(
            harness.Sink(options.build, folder, core=options.cores.load)
        )
        setting = peers.Setting(options.build, folder, harness.free_port(), sink.address)
        container = stack.enter_context(Container())
        command = container.wrap(peers.agent_proxy(setting, workers=0))
        command = harness.pinned(command, options.cores.peer)
        proxy = stack.enter_context(harness.Process(command, folder, "agent-proxy"))
        proxy.wait_for_port(setting.port)
        cpu = harness.cpu_ns(proxy.pid)
        _, report = harness.run_loadgen(
            options.build,
            f"http://127.0.0.1:{setting.port}/api/v1/receive",
            *scenario.load(),
            *limits,
            core=options.cores.load,
        )
        proxy.check()
        cpu = harness.cpu_ns(proxy.pid) - cpu
        return {
            "samples_per_s": report["samples_per_s"],
            "errors": report["requests"] - report["acknowledged"],
            "cores": cpu / 1e9 / report["duration_s"],
            "rss_mib": harness.peak_rss_kib(proxy.pid) / 1024,
            "container_mib": container.memory_mib(),
            **measure.latencies(report),
        }


def at_rate(options):
    """The rate that has to be sustained, for 5 s and more."""
    seconds = max(options.seconds * 5, 5)
    return run(options, f"--rate={SAMPLES_PER_SECOND / SERIES}", f"--seconds={seconds}")


def as_much_as_it_takes(options):
    """A closed loop: what the quota suffices for."""
    return run(options, f"--seconds={max(options.seconds, 2)}")
