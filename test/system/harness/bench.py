"""The load generator and the sink of bench/ as processes: every request that they speak of has a
sender and a sequence number, so sets of requests can be compared."""

import json
import os

from .client import Client
from .ports import Port
from .process import Process
from .waiting import until

_ROOT = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
_TOOLS = os.path.join(_ROOT, os.environ.get("BENCH_TOOLS", "build/release/bench"))

# Share of the usual load that the scenarios run: less with builds that are slow by themselves.
_BUILD = os.environ.get("BUILD", "release")
LOAD = float(os.environ.get("SYSTEM_LOAD", "1" if _BUILD == "release" else "0.2"))


class Sink(Process):
    """A gateway that verifies and stores; stopped and started again it keeps its port and, with
    a journal, what it has stored."""

    def __init__(self, *flags, journal=None, port=None):
        self._own_port = None if port else Port()
        self.port = port or self._own_port
        self.address = ("127.0.0.1", self.port.number)
        self.url = "http://%s:%d" % self.address
        more = [f"--journal={journal}"] if journal else []
        super().__init__([os.path.join(_TOOLS, "sink"), "--verify",
                          "--listen=127.0.0.1:%d" % self.port.number, *flags, *more])
        self.wait_line("listening")

    def stats(self):
        with Client(self.address) as client:
            return json.loads(client.request("GET", "/stats").body)

    def finish(self):
        self.kill()
        if self._own_port:
            self._own_port.close()


class Loadgen(Process):
    """Senders that write, and log in ack_log each final answer when it comes."""

    def __init__(self, url, ack_log, connections, requests, series, *flags):
        self.ack_log = ack_log
        ack_log.touch()
        super().__init__([os.path.join(_TOOLS, "loadgen"), f"--url={url}/api/v1/receive",
                          f"--ack-log={ack_log}", "--unique", f"--connections={connections}",
                          f"--requests={requests}", f"--series={series}", *flags])

    def answers(self):
        """(sender, seq) -> status, so far."""
        lines = self.ack_log.read_text().splitlines()
        return {(int(sender), int(seq)): int(status)
                for sender, seq, status in (line.split() for line in lines)}

    def acknowledged(self):
        return {request for request, status in self.answers().items() if status // 100 == 2}

    def wait_acknowledged(self, count, timeout_s=60):
        until(lambda: len(self.acknowledged()) >= count or not self.running(),
              f"{count} requests acknowledged", timeout_s)

    def result(self, timeout_s=120):
        """Wait for the end; the exit code and what it says of the run."""
        code = self.wait(timeout_s)
        return code, json.loads(self.lines[-1])


def journal(path):
    """The set of (sender, seq) that a sink has ever stored."""
    return {tuple(map(int, line.split())) for line in path.read_text().splitlines()}
