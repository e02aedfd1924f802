"""One run of the program under the shim: its gateway, its senders, and what they are owed."""

import functools
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

import snappy

from harness import http1, prometheus_text, wire
from harness.client import Client
from harness.gateway import Gateway, answer

MEMORY_BYTES = 1 << 20  # the budget of every run, so that a charge that leaks is missed
HANG_S = 12.0  # no answer and no end takes longer, whatever fails
RECOVERY_S = 8.0
ONE_AND_A_HALF = 0x3FF8000000000000  # as a double
MARKER = re.compile(rb"torture_\d+")


def write_request(name, samples=1):
    """The bytes of a WriteRequest of one series; every sample takes 18 of them."""
    label = wire.field_bytes(1, b"__name__") + wire.field_bytes(2, name.encode())
    return wire.field_bytes(1, wire.field_bytes(1, label) + _samples(samples))


@functools.cache
def _samples(count):
    return b"".join(
        wire.field_bytes(2, wire.field_fixed64(1, ONE_AND_A_HALF)
                         + wire.field_varint(2, 1_700_000_000_000 + number))
        for number in range(count))


class Failure(Exception):
    """The program has broken its word; the text says how."""


class Stage:
    """Owner: run.py, for one run. what: what happened, in one word, once finish() has returned."""

    def __init__(self, program, shim, control, port, flags, gateway_url=None):
        self.control = control
        self.acknowledged = set()
        self.stored = set()
        self.slowest_s = 0.0
        self.refuse_with = {}  # marker in a body -> status by which the gateway refuses it
        self._serial = 0
        self._last = None  # the body of the latest answer to a write
        self._address = ("127.0.0.1", port.number)
        self._clients = []
        self._log = tempfile.TemporaryFile()
        self.gateway = Gateway()
        self.gateway.on_post = self._judge
        url = gateway_url % self.gateway.address[1]
        self._child = subprocess.Popen(
            [program, f"--gateway.address={url}", "--tenant=t", "--workers=1",
             "--http-address=127.0.0.1:%d" % port.number, "--gateway.timeout=1s",
             "--http-grace-period=2s", f"--limits.memory-bytes={MEMORY_BYTES}", *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._log,
            env={"LD_PRELOAD": shim, "TORTURE_CONTROL": control.path})

    # -- The gateway ---------------------------------------------------------------------------

    def _judge(self, post):
        if post.method != "POST" or not post.target.startswith("/t/api/v1/receive"):
            return answer(200, READ_BODY, Content_Type="application/json")
        decoded = snappy.decompress(post.body)
        for marker, status in self.refuse_with.items():
            if marker in decoded:
                return answer(status, b"no")
        self.stored.update(name.decode() for name in MARKER.findall(decoded))
        return None

    # -- Senders -------------------------------------------------------------------------------

    def wait_listening(self, entirely):
        """Wait until it listens; entirely: until all of it has started. False when it has ended
        instead."""
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                return False
            try:
                socket.create_connection(self._address, 1).close()
                if not entirely or b"agent-proxy started" in self.log():
                    return True
            except OSError:
                pass
            time.sleep(0.002)
        raise Failure("hang: it neither listens nor ends")

    def client(self):
        """A connection, or None where there is none to be had."""
        try:
            client = Client(self._address, HANG_S)
        except TimeoutError:
            raise Failure("hang: no connection") from None
        except OSError:
            return None
        self._clients.append(client)
        return client

    def _try(self, function, *arguments):
        """The function's result; None when the connection ended before."""
        start_s = time.monotonic()
        try:
            return function(*arguments)
        except TimeoutError:
            raise Failure(f"hang: no answer within {HANG_S:g} s") from None
        except (OSError, http1.Broken):
            return None
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - start_s)

    def new_name(self):
        self._serial += 1
        return f"torture_{self._serial}"

    def begin_write(self, client, name, samples=1, chunk_bytes=None, body=None):
        """Send a write and leave its answer for end_write()."""
        if client is None:
            return
        if body is None:
            body = snappy.compress(write_request(name, samples))
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
        self._try(client.send_request, "POST", "/api/v1/write", headers, body, chunk_bytes)

    def end_write(self, client, name):
        """The status, None without one."""
        response = client and self._try(client.read_response, "POST")
        if not response:
            return None
        self._last = response.body
        if response.status // 100 == 2:
            self.acknowledged.add(name)
            if name not in self.stored:
                raise Failure(f"false 2xx: {name} was answered {response.status}")
        elif response.status == 503 and response.headers.get("Retry-After") is None:
            raise Failure("a 503 without Retry-After")
        return response.status

    def write(self, client=None, **options):
        """One write, on a connection of its own unless given."""
        client = client or self.client()
        name = self.new_name()
        self.begin_write(client, name, **options)
        return self.end_write(client, name)

    def get(self, target, client=None, method="GET", body=None):
        """The answer, None without one."""
        client = client or self.client()
        return client and self._try(client.request, method, target, {}, body)

    # -- The end -------------------------------------------------------------------------------

    def running(self):
        return self._child.poll() is None

    def prove(self):
        """Whatever has failed is over: a write that needs the whole budget is taken, and nothing
        waits any more."""
        deadline = time.monotonic() + RECOVERY_S
        while self.running():
            client = self.client()
            self.begin_write(client, "torture_0", body=WHOLE_BUDGET)
            status = self.end_write(client, "torture_0")
            if status == 204:
                break
            if time.monotonic() > deadline:
                raise Failure(f"not recovered after {RECOVERY_S:g} s: a write is answered {status}: "
                              f"{self._last}")
            time.sleep(0.02)
        response = self.get("/metrics")
        if response and response.status == 200:
            metrics = prometheus_text.parse(response.text)
            for gauge in ("write_requests_waiting", "gateway_requests_in_flight",
                          "read_requests_in_flight"):
                if metrics.value(f"agent_proxy_{gauge}") != 0:
                    raise Failure(f"{gauge} is left behind")

    def close_clients(self):
        for client in self._clients:
            client.close()
        self._clients = []

    def log(self):
        return os.pread(self._log.fileno(), 1 << 20, 0)

    def descriptors(self, at_most):
        """How many it has open, once they are so few, or after a while; None: any number."""
        deadline = time.monotonic() + (0.05 if at_most is None else 1)
        while True:
            try:
                count = len(os.listdir(f"/proc/{self._child.pid}/fd"))
            except OSError:
                return 0
            if (at_most is not None and count <= at_most) or time.monotonic() > deadline:
                return count
            time.sleep(0.005)

    def signal(self, number=signal.SIGTERM):
        if self.running():
            self._child.send_signal(number)

    def finish(self):
        """Wait for the end and judge it: ok, refused (an exit with a message), aborted (out of
        memory, with a message)."""
        try:
            code = self._child.wait(HANG_S)
        except subprocess.TimeoutExpired:
            raise Failure("hang: it does not end") from None
        log = self.log()
        if code == 0:
            return "ok"
        if code == -signal.SIGABRT and b"out of memory" in log:
            return "aborted"
        # Our own signal to one that is about to refuse is a second one.
        told = b"level=error" in log or b"agent-proxy: " in log
        if code == 1 and told or code == 143 and b"level=error" in log:
            return "refused"
        # libmicrohttpd 0.9.75 removes a descriptor that the kernel had no memory to add, and takes
        # it for the end of the world; the rest of it cannot be reached after that.
        if code == -signal.SIGABRT and b"libmicrohttpd" in log and b"FD from epoll set" in log:
            return "aborted by libmicrohttpd"
        raise Failure(f"it ended with {code}: {log.decode(errors='replace')[-600:]!r}")

    def close(self):
        self.close_clients()
        if self.running():
            self._child.kill()
        self._child.wait()
        self.gateway.close()
        self.log_text = self.log().decode(errors="replace")
        self._log.close()


READ_BODY = b'{"status":"success","data":"' + b"0123456789abcdef" * 16384 + b'"}'


def _whole_budget():
    """A write that fills the budget to its last bytes."""
    name = "torture_0"
    samples = (MEMORY_BYTES - 2048) // 18
    room = MEMORY_BYTES - len(wire.literal_block(write_request(name, samples)))
    body = wire.literal_block(write_request(name + "x" * (room - 8), samples))
    assert 0 <= MEMORY_BYTES - len(body) <= 16, len(body)
    return body


WHOLE_BUDGET = _whole_budget()
