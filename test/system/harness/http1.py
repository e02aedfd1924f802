"""HTTP/1.1 messages as bytes on a socket: enough to read and write them exactly, no more.

Both the client and the gateway stand-in use it. It is strict about what the proxy sends and lets
a scenario send anything.
"""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Broken(Exception):
    """The peer ended the connection in mid-message, or sent something that is not HTTP/1.1."""


class Headers(list):
    """The fields of a message in their order: (name, value) pairs of str."""

    def all(self, name):
        return [value for key, value in self if key.lower() == name.lower()]

    def get(self, name, default=None):
        """The value of a field that may be there once at most."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times: {values}"
        return values[0] if values else default

    def __contains__(self, name):
        return bool(self.all(name))


@dataclass
class Message:
    start: str  # the request line or the status line
    headers: Headers
    body: bytes = b""


@dataclass
class Response:
    status: int
    reason: str
    headers: Headers
    body: bytes = field(repr=False)

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")


def read_head(stream):
    """The start line and the fields, or None where the peer has closed before the first byte."""
    line = stream.readline()
    if line == b"":
        return None
    start = _ended(line).decode("latin-1")
    headers = Headers()
    while True:
        line = _ended(stream.readline())
        if line == b"":
            return Message(start, headers)
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name):
            raise Broken(f"not a header field: {line!r}")
        headers.append((name.decode(), value.strip(b" \t").decode("latin-1")))


def read_body(stream, headers, until_closed=False):
    """The body that the fields announce. until_closed: without any length it ends with the peer."""
    if headers.get("Transfer-Encoding", "").lower() == "chunked":
        return _read_chunks(stream)
    length = headers.get("Content-Length")
    if length is not None:
        return _read_exactly(stream, int(length))
    return stream.read() if until_closed else b""


def read_response(stream, method="GET"):
    """The next final response."""
    while True:
        head = read_head(stream)
        if head is None:
            raise Broken("closed before a response")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3})(?: (.*))?", head.start)
        if not match:
            raise Broken(f"not a status line: {head.start!r}")
        status = int(match[1])
        if status < 200:
            continue
        bodiless = method == "HEAD" or status in (204, 304)
        body = b"" if bodiless else read_body(stream, head.headers, until_closed=True)
        return Response(status, match[2] or "", head.headers, body)


def chunked(data, size=4096):
    """The data in chunked transfer coding."""
    pieces = (data[at:at + size] for at in range(0, len(data), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _ended(line):
    if not line.endswith(b"\r\n"):
        raise Broken(f"ends in mid-line: {line!r}")
    return line[:-2]


def _read_exactly(stream, size):
    data = stream.read(size)
    if len(data) < size:
        raise Broken(f"ended after {len(data)} of {size} bytes")
    return data


def _read_chunks(stream):
    body = b""
    while True:
        size = int(_ended(stream.readline()).split(b";")[0], 16)
        body += _read_exactly(stream, size)
        if _read_exactly(stream, 2) != b"\r\n":
            raise Broken("a chunk has not the length that it tells")
        if size == 0:
            return body
