"""A stand-in for the gateway: records every POST and answers as the scenario scripts it.

A play is what happens to a connection once a request has been read: a function of the connection
that sends something, or breaks something, and returns whether the connection goes on. The plays
below cover what a gateway can do wrong; `answer` is the one that behaves.
"""

import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import snappy

from . import http1, wire
from .waiting import PATIENCE_S

ACCEPTED = 200


def answer(status=ACCEPTED, body=b"", **headers):
    """A whole, well-formed answer. Headers by keyword: Retry_After=7."""
    lines = [f"HTTP/1.1 {status} Some Reason"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    return raw(head + body, keep=True)


def raw(data, keep=False):
    """These bytes, whatever they are."""

    def play(connection):
        connection.sendall(data)
        return keep

    return play


def delayed(play, delay_s):
    """The play, later: the time that a gateway takes."""

    def play_later(connection):
        time.sleep(delay_s)
        return play(connection)

    return play_later


def close(connection):
    """The end, in order and without a word."""
    return False


def reset(connection):
    """The end by RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def cut_short(status=ACCEPTED):
    """An answer that promises more than it sends."""
    return raw(b"HTTP/1.1 %d OK\r\nContent-Length: 100\r\n\r\nonly this" % status)


def hang(connection):
    """Nothing, until the peer has had enough."""
    while connection.recv(4096):
        pass
    return False


@dataclass
class Post:
    """One request as the gateway saw it."""

    number: int  # from 0, in the order in which requests were complete
    method: str
    target: str
    headers: http1.Headers
    body: bytes = field(repr=False)
    connection: int  # which connection it came on, from 0
    at_s: float = field(repr=False)  # monotonic

    @property
    def decoded(self):
        return snappy.decompress(self.body)

    @property
    def request(self):
        """The decoded body as a WriteRequest."""
        return wire.parse(self.decoded)


class Gateway:
    """Listens on a port of its own, or on the one that is given; a thread for each connection."""

    def __init__(self, port=0):
        self.posts = []
        self.broken = []  # what came in that was no HTTP
        self.on_post = None  # play for a post, or None for the usual: lambda post: play
        self._script = []
        self._open = threading.Event()
        self._open.set()
        self._changed = threading.Condition()
        self._connections = {}
        self._connection_count = 0
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self):
        return "%s:%d" % self.address

    @property
    def url(self):
        return f"http://{self.host}"

    def script(self, *plays):
        """What the next requests get, one play each, in the order in which they come; the usual
        answer after that."""
        self._script.extend(plays)

    @contextmanager
    def holding(self):
        """Requests are read and recorded, and answered only when the block ends."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def wait_posts(self, count, timeout_s=PATIENCE_S):
        """Wait until this many requests have come in; return them all."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.posts) >= count, timeout_s)
        assert arrived, f"{len(self.posts)} of {count} posts within {timeout_s:g} s"
        return list(self.posts)

    def stop_listening(self):
        """New connections are refused from here on; those that are open go on."""
        _shutdown(self._listener)

    def drop_connections(self):
        """Close those that are open; new ones are taken."""
        for connection in list(self._connections.values()):
            _shutdown(connection)

    def close(self):
        self._closed = True
        self._open.set()
        self.stop_listening()
        self.drop_connections()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                self._listener.close()
                return
            number = self._connection_count
            self._connection_count += 1
            self._connections[number] = connection
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection, number):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection, connection.makefile("rb") as stream:
                while not self._closed and self._serve_one(connection, stream, number):
                    pass
        except http1.Broken as error:
            self.broken.append(error)
        except OSError:
            pass  # the peer has gone, which is its right
        finally:
            del self._connections[number]

    def _serve_one(self, connection, stream, number):
        head = http1.read_head(stream)
        if head is None:
            return False
        if head.headers.get("Expect"):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = http1.read_body(stream, head.headers)
        method, target, _ = head.start.split(" ")
        with self._changed:
            post = Post(len(self.posts), method, target, head.headers, body, number,
                        time.monotonic())
            play = self._play_for(post)
            self.posts.append(post)
            self._changed.notify_all()
        self._open.wait()
        return play(connection)

    def _play_for(self, post):
        if self._script:
            return self._script.pop(0)
        return (self.on_post and self.on_post(post)) or answer()


def _shutdown(a_socket):
    """As a plain socket: of a TLS one it would take the session from the thread that serves it."""
    try:
        socket.socket.shutdown(a_socket, socket.SHUT_RDWR)
    except OSError:
        pass
