"""What the scenarios of reads stand on: a gateway that routes as Whizard's does in front of a real
Prometheus, and plays and clients for answers that are larger than memory."""

import os
import re
import socket
import struct
import threading
import time
import urllib.parse
from pathlib import Path

from . import http1
from .client import Client
from .gateway import Gateway, raw
from .waiting import until

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TENANT_HEADER = "WHIZARD-TENANT"

# What Whizard's gateway routes below /<tenant>; any other method or path is 405.
_ROUTES = [
    (r"/api/v1/query(_range)?", {"GET", "POST"}),
    (r"/api/v1/(series|labels|rules|label/[^/]+/values)", {"GET"}),
]
# Of an answer: what belongs to the connection, not to it.
_OF_CONNECTION = {"connection", "content-length", "transfer-encoding", "date"}


def is_routed(method, path):
    return any(re.fullmatch(pattern, path) and method in methods for pattern, methods in _ROUTES)


def form(*pairs):
    """Arguments as they stand in a form or behind the '?': [("match[]", "up"), ...]"""
    return urllib.parse.urlencode(pairs)


def content(response):
    """What a client sees of an answer, whichever way it came."""
    fields = sorted((name.lower(), value) for name, value in response.headers
                    if name.lower() not in _OF_CONNECTION)
    return response.status, fields, response.body


class PrometheusGateway(Gateway):
    """Strips /<tenant>, insists on the tenant's header, and asks a Prometheus for the rest."""

    def __init__(self, prometheus, tenant):
        super().__init__()
        self._prometheus = prometheus
        self._tenant = tenant
        self.on_post = lambda post: lambda connection: self._relay(post, connection)

    def _relay(self, post, connection):
        prefix, _, path = post.target.partition("/api/v1/")
        path = "/api/v1/" + path
        if prefix != "/" + self._tenant or post.headers.get(TENANT_HEADER) != self._tenant:
            return refuse(connection, 403)
        if not is_routed(post.method, path.partition("?")[0]):
            return refuse(connection, 405)
        fields = {name: post.headers.get(name) for name in ("Accept-Encoding", "Content-Type")}
        with Client(self._prometheus.address) as client:
            answer = client.request(post.method, path, fields, post.body or None)
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
        lines += [f"{name}: {value}" for name, value in answer.headers
                  if name.lower() not in _OF_CONNECTION]
        length = answer.headers.get("Content-Length")
        if length is None:  # long answers come chunked, and go on so
            lines.append("Transfer-Encoding: chunked")
            body = http1.chunked(answer.body)
        else:
            lines.append(f"Content-Length: {length}")
            body = answer.body
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        return True


def refuse(connection, status):
    connection.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 3\r\n\r\nno\n" % status)
    return True


def stream(total, chunked=False, block_bytes=256 * 1024, head=b""):
    """A play: an answer of so many bytes, made while it is sent."""
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % total
    block = bytes(i % 251 for i in range(block_bytes))

    def play(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + framing + b"\r\n\r\n")
        sent = 0
        while sent < total:
            piece = block[:total - sent]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            sent += len(piece)
        if chunked:
            connection.sendall(b"0\r\n\r\n")
        return True

    return play


def begin(total=1 << 30, first=b"0123456789", chunked=False):
    """A play: the start of an answer, then silence until the peer leaves. When it did is added to
    the play's `ended`, a list of monotonic times."""
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % total
    piece = b"%x\r\n%s\r\n" % (len(first), first) if chunked else first

    def play(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + piece)
        return note_end(play, connection)

    play.ended = []
    return play


def silence():
    """A play: no answer at all; `ended` as in begin()."""

    def play(connection):
        return note_end(play, connection)

    play.ended = []
    return play


def note_end(play, connection):
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    play.ended.append(time.monotonic())
    return False


def break_off(head, body):
    """A play: the head, part of its body, and the end of the connection."""
    return raw(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)


class SlowClients:
    """Clients that take their answers at a rate of their own, in one thread."""

    def __init__(self, address, count, target="/api/v1/query?query=up", bytes_per_s=1 << 20):
        self._sockets = []
        self._period_s = 1 / 16
        self._share = int(bytes_per_s * self._period_s)
        self.taken = 0
        self._stopped = threading.Event()
        for _ in range(count):
            one = socket.create_connection(address)
            one.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            one.setblocking(False)
            self._sockets.append(one)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stopped.wait(self._period_s):
            for one in self._sockets:
                try:
                    self.taken += len(one.recv(self._share))
                except BlockingIOError:
                    pass

    def close(self):
        self._stopped.set()
        self._thread.join()
        for one in self._sockets:
            one.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def rss_bytes(process):
    """The resident memory of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def reset(a_socket):
    """Close by RST."""
    a_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    a_socket.close()


def is_sanitized(process):
    """Memory of a build with a sanitizer says nothing."""
    return b"__asan_init" in Path(os.readlink(f"/proc/{process.pid}/exe")).read_bytes()


def in_flight(proxy):
    return proxy.metrics().value("agent_proxy_read_requests_in_flight")


def wait_in_flight(proxy, count):
    until(lambda: in_flight(proxy) == count, f"{count} reads at the gateway")


def read_count(proxy, **labels):
    return proxy.metrics().sum("agent_proxy_read_requests_total", **labels)
