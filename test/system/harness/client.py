"""A sender: one connection, requests written byte by byte as the scenario wants them."""

import socket

from . import http1
from .waiting import PATIENCE_S

WRITE_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "User-Agent": "Prometheus/2.42.0",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
WRITE_PATH = "/api/v1/receive"


class Client:
    """One connection, kept alive for as long as the peer lets it."""

    def __init__(self, address, timeout_s=PATIENCE_S):
        self.address = address
        self.socket = socket.create_connection(address, timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self.socket.makefile("rb")

    def close(self):
        self._stream.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def head(self, method, target, headers):
        fields = {"Host": "%s:%d" % self.address, **headers}
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def send_request(self, method, target, headers=None, body=None, chunk_bytes=None):
        """Send a whole request; chunk_bytes: its body in chunks of that size."""
        headers = dict(headers or {})
        if body is not None and chunk_bytes is None:
            headers.setdefault("Content-Length", str(len(body)))
        elif body is not None:
            headers["Transfer-Encoding"] = "chunked"
            body = http1.chunked(body, chunk_bytes)
        self.send(self.head(method, target, headers) + (body or b""))

    def read_response(self, method="GET"):
        return http1.read_response(self._stream, method)

    def read_interim(self):
        """The status of the next response, whatever it is, its body left unread."""
        head = http1.read_head(self._stream)
        if head is None:
            raise http1.Broken("closed before a response")
        return int(head.start.split()[1])

    def request(self, method, target, headers=None, body=None, chunk_bytes=None):
        self.send_request(method, target, headers, body, chunk_bytes)
        return self.read_response(method)

    def write(self, body, path=WRITE_PATH, chunk_bytes=None, **headers):
        """POST a compressed write request. A header given by keyword (Content_Type=...) is sent
        in place of the usual one; None leaves it out."""
        fields = {**WRITE_HEADERS, **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.request("POST", path, fields, body, chunk_bytes)

    def rest(self):
        """All that still comes until the peer closes the connection."""
        return self._stream.read()

    def closed_by_peer(self):
        """Wait for the end of the connection; whatever still comes before it is an error."""
        return self._stream.read() == b""
