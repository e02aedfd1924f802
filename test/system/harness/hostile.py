"""A sender that does wrong what its script says: connections, bytes, and what it hears for them."""

import re
import select
import shlex
import socket
import struct
import threading
import time

from . import http1
from .client import WRITE_HEADERS, WRITE_PATH
from .stage import LONGEST_S, Failed, run_steps

_END = (http1.Broken, ConnectionError, BrokenPipeError)


class Sender:
    """One script. It has one connection at a time, made when it is first needed; its methods are
    the steps. rename: put behind the name of each series, so that senders can be told apart."""

    def __init__(self, stage, steps, rename=""):
        self.stage = stage
        self.steps = steps
        self.rename = rename
        self.connection = None
        self.stream = None
        self.flooding = []
        self.names = []  # of all that was sent
        self.accepted = 0  # of them

    def run(self, who):
        try:
            run_steps(self, self.steps)
        except Failed as error:
            self.stage.fail(who, error)
        except (*_END, OSError) as error:
            self.stage.fail(who, repr(error))
        finally:
            self.do_close("")
            for connection in self.flooding:
                connection.close()

    def start(self, who):
        thread = threading.Thread(target=self.run, args=(who,), daemon=True)
        thread.start()
        return thread

    # -- Steps --------------------------------------------------------------------------------

    def do_connect(self, _):
        self.do_close("")
        self.connection = socket.create_connection(self.stage.proxy.address, LONGEST_S)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.connection.makefile("rb")

    def do_send(self, text):
        """Text with {placeholders}. The proxy may close before it has it all; hear tells."""
        self.names += re.findall(r"\{(?:body|write|chunk) (\w+)\}", text)
        self._send(self.stage.bytes_of(text))

    def do_slowly(self, text):
        """SECONDS TEXT: byte by byte, until it is all sent or the proxy has had enough."""
        seconds, _, text = text.partition(" ")
        for byte in self.stage.bytes_of(text):
            if not self._send(bytes([byte])) or self._has_ended(float(seconds)):
                return

    def do_endless(self, text):
        """This text again and again, until the proxy has had enough."""
        self._connect_if_needed()
        block = self.stage.bytes_of(text)
        block *= max(1, 65536 // len(block))
        self.connection.settimeout(LONGEST_S)
        while self._send(block):
            pass

    def do_write(self, text):
        """NAME [BYTES] [-> what is heard]: a good write of one series."""
        what, _, expected = text.partition(" -> ")
        name, _, padding = what.partition(" ")
        name += self.rename
        body = self.stage.body(name, int(padding or 0))
        self.names.append(name)
        fields = {"Host": "proxy", **WRITE_HEADERS, "Content-Length": str(len(body))}
        lines = [f"POST {WRITE_PATH} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
        self._send(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        if expected:
            self.do_hear(expected)

    def do_get(self, text):
        """PATH [-> what is heard]"""
        path, _, expected = text.partition(" -> ")
        self._send(f"GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
        if expected:
            self.do_hear(expected)

    def do_hear(self, text):
        """STATUS [Name=value ...] [words of the body], or end, or alternatives: 400|end. rest: and then
        whatever, until the proxy closes."""
        wanted, *more = shlex.split(text)
        wanted = wanted.split("|")
        self._connect_if_needed()
        try:
            response = http1.read_response(self.stream, "POST")
            if "rest" in more:
                more.remove("rest")
                self.stream.read()
        except socket.timeout:
            raise Failed(f"nothing heard in {LONGEST_S:g} s instead of {text}") from None
        except _END as error:
            if "end" in wanted and self._is_an_end(error):
                self.do_close("")
                return
            raise Failed(f"heard {error!r} instead of {text}") from error
        if str(response.status) not in wanted:
            raise Failed(f"heard {response} {response.text[:200]!r} instead of {text}")
        self._check(response, more, text)

    def do_silence(self, seconds):
        """Nothing is heard for so long."""
        if select.select([self.connection], [], [], float(seconds))[0]:
            raise Failed(f"heard {self.connection.recv(200)!r} instead of silence")

    def do_flood(self, text):
        """COUNT [TEXT]: so many connections, the text sent on each; held to the end."""
        count, _, text = text.partition(" ")
        data = self.stage.bytes_of(text)
        for _ in range(int(count)):
            connection = socket.socket()
            connection.settimeout(LONGEST_S)
            try:
                connection.connect(self.stage.proxy.address)
                connection.sendall(data)
            except OSError:
                connection.close()
                continue
            self.flooding.append(connection)

    def do_flood_ends(self, count):
        """At least so many of them are closed by the proxy."""
        deadline = time.monotonic() + LONGEST_S
        while sum(map(_has_ended, self.flooding)) < int(count):
            if time.monotonic() > deadline:
                ended = sum(map(_has_ended, self.flooding))
                raise Failed(f"{ended} of the flood were closed, not {count}")
            time.sleep(0.05)

    def do_let_go(self, _):
        """Close the flood."""
        for connection in self.flooding:
            connection.close()
        self.flooding = []

    def do_takes(self, text):
        """LEAST MOST: seconds since the connection was made or the last such step."""
        least, most = map(float, text.split())
        now = time.monotonic()
        if not least <= now - self.since_s <= most * self.stage.loose:
            raise Failed(f"it took {now - self.since_s:.2f} s, not {least:g} to {most:g}")
        self.since_s = now

    def do_from_now(self, _):
        self.since_s = time.monotonic()

    def do_wait(self, seconds):
        self.stage.pause(float(seconds))

    def do_signal(self, name):
        self.stage.signal(name)

    def do_await(self, name):
        self.stage.await_signal(name)

    def do_until(self, comparison):
        self.stage.until(comparison)

    def do_half_close(self, _):
        """In a packet of its own, so that the proxy sees it whatever it was reading."""
        self.stage.pause(0.05)
        try:
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the proxy was first

    def do_reset(self, _):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.do_close("")

    def do_close(self, _):
        if self.connection is not None:
            self.stream.close()
            self.connection.close()
            self.connection = self.stream = None

    # -- What they stand on -------------------------------------------------------------------

    def _connect_if_needed(self):
        if self.connection is None:
            self.do_connect("")

    def _send(self, data):
        self._connect_if_needed()
        try:
            self.connection.sendall(data)
            return True
        except ConnectionError:
            return False

    def _has_ended(self, seconds):
        """Whether the proxy has said or ended something, within so long."""
        return bool(select.select([self.connection], [], [], seconds)[0])

    def _is_an_end(self, error):
        return isinstance(error, ConnectionError) or "closed before" in str(error)

    def _check(self, response, more, text):
        fields = [word.partition("=") for word in more if re.match(r"[A-Z][\w-]*=", word)]
        words = " ".join(word for word in more if not re.match(r"[A-Z][\w-]*=", word))
        for name, _, value in fields:
            heard = response.headers.get(name, "")
            least, _, most = value.partition("..")
            good = heard == value or (most and heard.isdigit()
                                      and int(least) <= int(heard) <= int(most))
            if not good:
                raise Failed(f"heard {name}: {heard} instead of {text}")
        if not re.search(words, response.text):
            raise Failed(f"heard {response.text[:200]!r} instead of {text}")
        if response.status == 503 and not 1 <= int(response.headers.get("Retry-After", 0)) <= 300:
            raise Failed(f"heard a 503 without a time to come again: {response}")
        if response.status == 204:
            self._believe()

    def _believe(self):
        """The sender has heard a 2xx: as many of its writes must be with the gateway."""
        self.accepted += 1
        stored = len(self.stage.stored.intersection(self.names))
        if stored < self.accepted:
            raise Failed(f"A FALSE 2xx: {self.accepted} acknowledged of {self.names}, "
                         f"{stored} stored")


def _has_ended(connection):
    try:
        if not select.select([connection], [], [], 0)[0]:
            return False
        return connection.recv(65536, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
