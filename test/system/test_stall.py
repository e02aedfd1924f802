"""The gateway stands still while 256 senders go on, in the container that the proxy is made for:
300 MiB of memory and 0.15 of a CPU.

STALL_SECONDS=600 is the long version."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from harness import wire
from harness.bench import Loadgen, Sink, journal
from harness.client import Client
from harness.ports import Port
from harness.process import Process
from harness.proxy import BINARY
from harness.waiting import in_background, results, until

STALL_S = float(os.environ.get("STALL_SECONDS", "40"))
SENDERS = 256
SERIES = 2000  # 270 KB compressed
PROBES = 4
MEMORY_LIMIT_BYTES = 300 << 20
RESIDENT_BYTES_MAX = 150 << 20
CPU_QUOTA_US, CPU_PERIOD_US = 15_000, 100_000
ANSWER_S_MAX = 28  # the write deadline of 25 s, and what a starved CPU adds; senders wait for 30 s

MEMORY = Path("/sys/fs/cgroup/memory")
CPU = Path("/sys/fs/cgroup/cpu")


class Group:
    """A control group with limits. Owner: the scenario; gone when its processes are."""

    def __init__(self, parent, **limits):
        for left in parent.glob("agent-proxy-test-*"):  # by a test that was killed
            if not Path(f"/proc/{left.name.rsplit('-', 1)[1]}").exists():
                left.rmdir()
        self.path = parent / f"agent-proxy-test-{os.getpid()}"
        self.path.mkdir()
        for name, value in limits.items():
            (self.path / name.replace("__", ".")).write_text(str(value))

    def read(self, name):
        return (self.path / name).read_text()

    def remove(self):
        until(lambda: not self.read("cgroup.procs").split(), "the group is empty")
        self.path.rmdir()


@pytest.fixture
def groups():
    if os.environ.get("BUILD", "release") != "release":
        pytest.skip("sanitizers take memory of their own")
    if os.geteuid() != 0:
        pytest.skip("control groups can only be made by root")
    if not (MEMORY / "memory.limit_in_bytes").exists() or not (CPU / "cpu.cfs_quota_us").exists():
        pytest.skip("no control groups of version 1 at /sys/fs/cgroup/{memory,cpu}")
    made = []
    try:
        made.append(Group(MEMORY, memory__limit_in_bytes=MEMORY_LIMIT_BYTES))
        made.append(Group(CPU, cpu__cfs_period_us=CPU_PERIOD_US, cpu__cfs_quota_us=CPU_QUOTA_US))
    except OSError as error:
        for group in made:
            group.remove()
        pytest.skip(f"cannot limit memory and CPU here: {error}")
    yield made
    for group in made:
        group.remove()


class Contained(Process):
    """agent-proxy with default settings, in groups from its first instruction on."""

    def __init__(self, groups, gateway_url, port):
        self.address = ("127.0.0.1", port.number)
        self.url = "http://%s:%d" % self.address
        enter = "".join(f"echo $$ > {group.path}/cgroup.procs && " for group in groups)
        super().__init__(["sh", "-c", enter + 'exec "$@"', "sh", BINARY,
                          f"--gateway.address={gateway_url}", "--tenant=member-1",
                          "--http-address=%s:%d" % self.address])
        self.ceiling_bytes = int(self.wait_line(r"memory_ceiling_bytes=(\d+)")[1])

    def resident_bytes(self):
        """(now, at most so far)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return tuple(1024 * int(re.search(rf"{name}:\s+(\d+)", status)[1])
                     for name in ("VmRSS", "VmHWM"))


def probe(proxy, body, until_s):
    """A sender that looks at its answers: (status, seconds, Retry-After) of each."""
    heard = []
    while time.monotonic() < until_s:
        with Client(proxy.address, timeout_s=40) as client:
            start_s = time.monotonic()
            response = client.write(body)
            heard.append((response.status, time.monotonic() - start_s,
                          response.headers.get("Retry-After")))
        time.sleep(1)
    return heard


def test_a_stalled_gateway_costs_nobody_anything_but_time(groups, tmp_path):
    stored = tmp_path / "journal"
    with Port() as port:
        sink = Sink(journal=stored)
        proxy = Contained(groups, sink.url, port)
        load = Loadgen(proxy.url, tmp_path / "acks", SENDERS, 10 ** 6, SERIES, "--retry",
                       "--retry-max-wait=3000", "--timeout=30000", "--deadline=1800")
        try:
            load.wait_acknowledged(SENDERS)
            sink.send_signal(signal.SIGSTOP)
            body = wire.body(wire.series("probe", *range(50_000)))
            stall_end_s = time.monotonic() + STALL_S
            probes = [in_background(probe, proxy, body, stall_end_s - ANSWER_S_MAX)
                      for _ in range(PROBES)]
            while time.monotonic() < stall_end_s:
                assert proxy.running() and load.running(), proxy.log
                time.sleep(0.5)
            heard = sum(results(probes, timeout_s=60), [])
            resident, peak = proxy.resident_bytes()
            acknowledged = len(load.acknowledged())

            sink.send_signal(signal.SIGCONT)
            load.wait_acknowledged(acknowledged + SENDERS, timeout_s=120)
            load.send_signal(signal.SIGTERM)
            code, result = load.result(timeout_s=180)
            assert proxy.stop() == 0
            peak_group = int(groups[0].read("memory.max_usage_in_bytes"))
            quota = groups[1].read("cpu.stat")
            periods, throttled = (int(re.search(rf"nr_{name} (\d+)", quota)[1])
                                  for name in ("periods", "throttled"))
        finally:
            print(proxy.log[-2000:], load.log[-2000:], sep="\n")
            sink.send_signal(signal.SIGCONT)
            for process in (load, proxy, sink):
                process.kill()

    print(f"\nstalled for {STALL_S:g} s: {result['status']}, resident {resident >> 20} MiB, at "
          f"most {peak >> 20} MiB, the group {peak_group >> 20} MiB, ceiling "
          f"{proxy.ceiling_bytes >> 20} MiB; {len(heard)} looks took at most "
          f"{max(seconds for _, seconds, _ in heard):.1f} s; {acknowledged} acknowledged before, "
          f"{result['acknowledged']} in the end; throttled {throttled} times")
    assert periods > 0  # the quota was in force, though the proxy may not need all of it
    assert peak < min(proxy.ceiling_bytes, RESIDENT_BYTES_MAX)
    assert peak_group < MEMORY_LIMIT_BYTES
    assert heard and {status for status, _, _ in heard} == {503}
    assert all(seconds < ANSWER_S_MAX and 1 <= int(after) for _, seconds, after in heard), heard
    # All other senders too were answered, and in time.
    assert set(result["status"]) == {"204", "503"}, result
    assert (result["timeouts"], result["connection_errors"]) == (0, 0), result
    assert result["status"]["503"] >= SENDERS
    # What the stall held up has drained.
    assert (code, result["acknowledged"]) == (0, result["requests"]), result
    assert load.acknowledged() == journal(stored)
