"""TLS on either side of the proxy: a sender, a gateway, and an HTTP proxy on the way to it."""

import socket
import ssl
import threading

from . import http1
from .client import Client
from .gateway import Gateway
from .waiting import PATIENCE_S


def client_context(authority, pair=None, maximum=None):
    """What a sender needs: whom it trusts, and maybe who it is."""
    context = ssl.create_default_context(cafile=authority.cert)
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    if maximum is not None:
        context.maximum_version = maximum
    return context


def server_context(pair, client_authority=None, maximum=None):
    """What a gateway needs. With client_authority it insists on a certificate signed by it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if maximum is not None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = maximum
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(pair.cert, pair.key)
    if client_authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_authority.cert)
    return context


class TlsClient(Client):
    """A sender over TLS, to localhost by name."""

    def __init__(self, address, context, timeout_s=PATIENCE_S):
        super().__init__(address, timeout_s)
        self._stream.close()
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        except OSError:
            self.socket.close()
            raise
        self._stream = self.socket.makefile("rb")

    @property
    def peer_serial(self):
        return self.socket.getpeercert()["serialNumber"]


class TlsGateway(Gateway):
    """A gateway over TLS. Notes whose certificate came with each connection."""

    def __init__(self, context):
        self.context = context
        self.refused = []  # handshakes that failed
        self.serials = {}  # connection -> of the peer's certificate, or None
        super().__init__()

    @property
    def url(self):
        return f"https://{self.host}"

    def _serve(self, connection, number):
        wrapped = self.context.wrap_socket(connection, server_side=True,
                                           do_handshake_on_connect=False)
        self._connections[number] = wrapped
        try:
            wrapped.settimeout(PATIENCE_S)
            wrapped.do_handshake()
            wrapped.settimeout(None)
        except OSError as error:
            self.refused.append(str(error))
            _end_in_order(wrapped)
            del self._connections[number]
            return
        self.serials[number] = (wrapped.getpeercert() or {}).get("serialNumber")
        super()._serve(wrapped, number)


def _end_in_order(wrapped):
    """Read what the peer still sends, as a server in Go does: a reset would take from it the alert
    that says why it is refused."""
    try:
        wrapped.settimeout(0.3)
        socket.socket.shutdown(wrapped, socket.SHUT_WR)
        while socket.socket.recv(wrapped, 65536):
            pass
    except OSError:
        pass
    wrapped.close()


class ForwardProxy:
    """A proxy as proxy_url names one: relays CONNECT, and plain requests as bytes."""

    def __init__(self, status="200 Connection established"):
        self.status = status  # of its answer to CONNECT
        self.heads = []  # of the requests that it was asked
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = "%s:%d" % self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        # Without a buffer, so that what follows the head stays in the socket.
        with connection, connection.makefile("rb", buffering=0) as stream:
            head = http1.read_head(stream)
            if head is None:
                return
            self.heads.append(head)
            method, target, _ = head.start.split(" ")
            if method != "CONNECT":
                self._forward(connection, stream, target, head)
                return
            connection.sendall(f"HTTP/1.1 {self.status}\r\nX-Of-The-Proxy: 1\r\n\r\n".encode())
            if self.status.startswith("200"):
                host, _, port = target.rpartition(":")
                with socket.create_connection((host, int(port))) as onward:
                    threading.Thread(target=_relay, args=(onward, connection),
                                     daemon=True).start()
                    _relay(connection, onward)

    @staticmethod
    def _forward(connection, stream, target, head):
        """One request in absolute form, and its answer."""
        host, _, path = target.partition("://")[2].partition("/")
        name, _, port = host.rpartition(":")
        body = b""
        while len(body) < int(head.headers.get("Content-Length", "0")):
            body += stream.read(65536)
        lines = [head.start.replace(target, "/" + path)]
        lines += [f"{name}: {value}" for name, value in head.headers if name != "Connection"]
        lines += ["Connection: close", "", ""]
        with socket.create_connection((name, int(port))) as onward:
            onward.sendall("\r\n".join(lines).encode() + body)
            answer = http1.read_response(onward.makefile("rb"), "POST")
        connection.sendall(b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                           % (answer.status, len(answer.body)) + answer.body)


def _relay(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
