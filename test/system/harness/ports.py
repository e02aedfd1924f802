"""Ports for processes that cannot be asked which one they took."""

import socket


class Port:
    """A port of 127.0.0.1 that nobody else is given for as long as this object is open.

    The socket is bound and never listens, so the kernel hands its port to nobody who asks for a
    free one, while a program that sets SO_REUSEADDR or SO_REUSEPORT, as servers do, can take it
    by number, and again after a restart.
    """

    def __init__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number = self._socket.getsockname()[1]

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
