"""What the parties of a scenario share: signals to each other, the text that they send, and what
the gateway has stored. Steps of a script are lines of text: a verb and what it acts on."""

import re
import threading
import time

from . import prometheus_text, wire
from .client import Client

# [s] Beyond the longest deadline of the proxy (body, 30 s), under the slowest of tools.
LONGEST_S = 60.0

_PLACE = re.compile(r"\{(\w+)(?: ([^{}]+))?\}")
_COMPARISON = re.compile(r"(\S+?)(?:\{(.*)\})? (==|!=|<=|>=|<|>) (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Failed(Exception):
    """The scenario did not go as it is written."""


class Stage:
    """One run of a scenario. Owner: the run; used by a thread for each connection."""

    def __init__(self):
        self.proxy = None
        self.ended = False
        self.failures = []
        self.stored = set()  # names of the series to which the gateway has promised a 2xx
        self.loose = 1.0  # [factor] on what is measured, for builds that are slow by themselves
        self._signals = {}
        self._bodies = {}
        self._lock = threading.Lock()

    def _signal(self, name):
        with self._lock:
            return self._signals.setdefault(name, threading.Event())

    def signal(self, name):
        self._signal(name).set()

    def await_signal(self, name):
        if not self._signal(name).wait(LONGEST_S):
            raise Failed(f"nobody signalled {name}")

    def pause(self, seconds):
        """Sleep, but not beyond the end of the run."""
        deadline = time.monotonic() + seconds
        while not self.ended and time.monotonic() < deadline:
            time.sleep(min(0.05, max(0.0, deadline - time.monotonic())))

    def fail(self, who, error):
        self.failures.append(f"{who}: {error}")

    # -- Text ---------------------------------------------------------------------------------

    def body(self, name, padding_bytes=0):
        """A good write with one series of this name; padded with what does not compress."""
        with self._lock:
            key = name, padding_bytes
            if key not in self._bodies:
                self._bodies[key] = _body(name, padding_bytes)
            return self._bodies[key]

    def bytes_of(self, text):
        """What stands in a script, as bytes; {placeholders} become what they stand for."""
        out = bytearray()
        at = 0
        for place in _PLACE.finditer(text):
            value = self._value(place[1], place[2])
            if value is not None:
                out += text[at:place.start()].encode("latin-1") + value
                at = place.end()
        return bytes(out + text[at:].encode("latin-1"))

    def _value(self, kind, argument):
        if kind == "post":  # a head but for what the scenario adds to it
            return (b"POST /api/v1/receive HTTP/1.1\r\nHost: proxy\r\n"
                    b"Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n")
        if kind == "body":
            return self.body(argument)
        if kind == "length":
            name, change = re.fullmatch(r"(\w+)([+-]\d+)?", argument).groups()
            return b"%d" % (len(self.body(name)) + int(change or 0))
        if kind == "chunk":  # the body as one chunk, without the last one
            body = self.body(argument)
            return b"%x\r\n%s\r\n" % (len(body), body)
        if kind == "write":
            body = self.body(argument)
            return self._value("post", None) + b"Content-Length: %d\r\n\r\n" % len(body) + body
        if kind == "repeat":
            count, _, what = argument.partition(" ")
            return int(count) * what.encode("latin-1").decode("unicode_escape").encode("latin-1")
        if kind == "bomb":  # declares this many decoded bytes
            return wire.varint(int(argument)) + b"\x00\x0a"
        return None

    # -- Metrics ------------------------------------------------------------------------------

    def holds(self, comparison, metrics):
        """Whether 'name{label="value"} >= 1' is true; over all series that have these labels."""
        name, labels, sign, wanted = parse_comparison(comparison)
        if name not in metrics.names():
            raise Failed(f"there is no metric {name}")
        value = metrics.sum(name, **labels)
        return {"==": value == wanted, "!=": value != wanted, "<=": value <= wanted,
                ">=": value >= wanted, "<": value < wanted, ">": value > wanted}[sign]

    def metrics(self):
        with Client(self.proxy.address, LONGEST_S) as client:
            response = client.request("GET", "/metrics", {"Connection": "close"})
            if response.status != 200:
                raise Failed(f"/metrics: {response}")
            return prometheus_text.parse(response.text)

    def until(self, comparison, seconds=LONGEST_S):
        """Wait until a metric is as it should be."""
        deadline = time.monotonic() + seconds
        while not self.holds(comparison, self.metrics()):
            if self.ended or self.failures or time.monotonic() > deadline:
                name, labels, _, _ = parse_comparison(comparison)
                value = self.metrics().sum(name, **labels)
                raise Failed(f"not so within {seconds:g} s: {comparison}; it is {value:g}")
            time.sleep(0.02)


def parse_comparison(text):
    match = _COMPARISON.fullmatch(text)
    if not match:
        raise Failed(f"not a comparison: {text!r}")
    return match[1], dict(_LABEL.findall(match[2] or "")), match[3], float(match[4])


def _body(name, padding_bytes):
    labels = {}
    if padding_bytes:
        # A linear congruential generator: the same each time, and nothing for snappy to find.
        state, digits = 12345, bytearray()
        while len(digits) < padding_bytes:
            state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
            digits += b"%016x" % state
        labels["padding"] = digits[:padding_bytes].decode()
    return wire.body(wire.series(name, 1.0, **labels))


def run_steps(party, steps):
    """Do the steps in turn: 'verb rest' calls party.do_verb(rest). A step that returns False is
    the last one."""
    for step in steps:
        verb, _, rest = step.partition(" ")
        method = getattr(party, "do_" + verb.replace("-", "_"), None)
        if method is None:
            raise Failed(f"no such step: {step!r}")
        if method(rest) is False:
            return False
    return True
