"""A gateway that does wrong what its script says, connection by connection, and behaves after it.

The script is a list of steps for each connection, in the order in which they are accepted. What it
stores, and with it which 2xx it has promised, is on the stage.
"""

import shlex
import socket
import struct
import threading

import snappy

from . import http1, wire
from .stage import Failed, run_steps


class FaultGateway:
    """Listens on a port of its own, a thread for each connection. refuses: {series: answer}, for
    writes that hold the series, while it behaves."""

    def __init__(self, stage, script, refuses=None, default=()):
        self.stage = stage
        self.script = script
        self.default = default  # steps of the connections behind those of the script
        self.refuses = refuses or {}
        self.posts = []  # of each whole request, the names of its series
        self._connections = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return "http://%s:%d" % self.address

    @property
    def connection_count(self):
        return len(self._connections)

    def behave(self):
        """Forget the script, end what is under way, and be good from here on."""
        self.script, self.default = [], ()
        for connection in list(self._connections):
            _shutdown(connection)

    def close(self):
        self.behave()
        _shutdown(self._listener)

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                self._listener.close()
                return
            number = len(self._connections)
            self._connections.append(connection)
            steps = self.script[number] if number < len(self.script) else self.default
            threading.Thread(target=self._serve, args=(connection, number, steps),
                             daemon=True).start()

    def _serve(self, connection, number, steps):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection, connection.makefile("rb") as stream:
                served = Served(self, connection, stream)
                if run_steps(served, steps):
                    served.do_behave("")
        except Failed as error:
            self.stage.fail(f"gateway, connection {number}", error)
        except http1.Broken as error:
            if "end" not in str(error) and "closed" not in str(error):
                self.stage.fail(f"gateway, connection {number}", error)
        except OSError:
            pass  # the proxy has gone, which is its right

    def add_post(self, body):
        """The names of the series in a whole body."""
        try:
            names = wire.names(wire.parse(snappy.decompress(body)))
        except Exception as error:
            raise Failed(f"the proxy sent a body that is no write: {error}") from error
        with self._lock:
            self.posts.append(names)
        return names


class Served:
    """One connection; its methods are the steps."""

    def __init__(self, gateway, connection, stream):
        self.gateway = gateway
        self.stage = gateway.stage
        self.connection = connection
        self.stream = stream
        self.head = None
        self.body_read = 0
        self.names = None  # of the request that has been read to its end

    def do_head(self, _):
        """Read the head of a request, and nothing of its body."""
        self.head = http1.read_head(self.stream)
        if self.head is None:
            raise http1.Broken("closed before a request")
        self.body_read = 0
        self.names = None

    def do_body(self, count):
        """Read so many bytes of the body, behind the head."""
        if self.head is None:
            self.do_head("")
        self.body_read += int(count)
        self.stream.read(int(count))

    def do_read(self, _):
        """Read a request to its end, or what is left of it."""
        if self.head is None:
            self.do_head("")
        length = int(self.head.headers.get("Content-Length")) - self.body_read
        body = self.stream.read(length)
        if len(body) < length:
            raise http1.Broken("ended in mid-body")
        whole = self.body_read == 0
        self.names = self.gateway.add_post(body) if whole else []
        self.head = None

    def do_store(self, _):
        """What was read is stored: a 2xx that follows is a true one."""
        self.stage.stored.update(self.names)

    def do_promise(self, name):
        """As store, by a gateway that has not read the request to its end."""
        self.stage.stored.add(name)

    def do_answer(self, text):
        """STATUS [Name=value ...] [body=words] [HTTP/1.0]: a whole, well-formed answer."""
        status, *more = shlex.split(text)
        version = "HTTP/1.0" if "HTTP/1.0" in more else "HTTP/1.1"
        fields = [word.partition("=") for word in more if word != version]
        body = "".join(value for name, _, value in fields if name == "body")
        lines = [f"{version} {status} Some Reason"]
        lines += [f"{name}: {value}" for name, _, value in fields if name != "body"]
        if status != "204":
            lines.append(f"Content-Length: {len(body)}")
        if status.startswith("2") and self.names is not None:
            self.do_store("")
        self.connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def do_send(self, text):
        self.connection.sendall(self.stage.bytes_of(text))

    def do_slowly(self, text):
        """SECONDS TEXT: byte by byte, with a pause behind each."""
        seconds, _, text = text.partition(" ")
        for byte in self.stage.bytes_of(text):
            self.connection.sendall(bytes([byte]))
            self.stage.pause(float(seconds))

    def do_endless(self, text):
        """This text again and again, until the proxy has had enough."""
        block = self.stage.bytes_of(text)
        block *= max(1, 65536 // len(block))
        while not self.stage.ended:
            self.connection.sendall(block)

    def do_wait(self, seconds):
        self.stage.pause(float(seconds))

    def do_signal(self, name):
        self.stage.signal(name)

    def do_await(self, name):
        self.stage.await_signal(name)

    def do_until(self, comparison):
        self.stage.until(comparison)

    def do_hang(self, _):
        """Nothing more, until the proxy has had enough."""
        while self.connection.recv(65536):
            pass
        return False

    def do_stall(self, _):
        """Nothing more, and not a byte is read either."""
        self.stage.await_signal("end of the run")
        return False

    def do_close(self, _):
        return False

    def do_reset(self, _):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def do_half_close(self, _):
        self.connection.shutdown(socket.SHUT_WR)

    def do_behave(self, _):
        """Take each request that comes, and answer it as a gateway should."""
        while True:
            if self.head is None:
                self.head = http1.read_head(self.stream)
                self.body_read = 0
            if self.head is None:
                return False
            if self.head.headers.get("Expect"):
                raise Failed("the proxy expects 100-continue of the gateway")
            self.do_read("")
            refused = [answer for name, answer in self.gateway.refuses.items()
                       if name in self.names]
            self.do_answer(refused[0] if refused else "200")


def _shutdown(a_socket):
    try:
        a_socket.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
