"""SIGKILL, again and again under load: what was acknowledged is stored, always.

`make crash-oracle` runs this with CRASH_PROXY_KILLS=1000 CRASH_GATEWAY_KILLS=200."""

import os
import random
import signal
import time

import pytest

from harness.bench import Loadgen, Sink
from harness.ports import Port
from harness.proxy import Proxy
from harness.waiting import until

PROXY_KILLS = int(os.environ.get("CRASH_PROXY_KILLS", "20"))
GATEWAY_KILLS = int(os.environ.get("CRASH_GATEWAY_KILLS", "5"))
SENDERS = 16
SERIES = 20
PER_S = 1000  # requests, of all senders; what a kill holds up is caught up with
RETRY = ("--retry", "--retry-max-wait=20", "--timeout=10000", "--deadline=1800")


class Lines:
    """The lines that a growing file has got since it was last asked."""

    def __init__(self, path):
        path.touch()
        self._file = open(path, "rb")
        self._rest = b""

    def new(self):
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [tuple(map(int, line.split())) for line in lines]

    def close(self):
        self._file.close()


class Oracle:
    """Which requests were sent, stored and acknowledged. A sender begins its next request when
    the last one is acknowledged, so what it has sent is told by its acknowledgements."""

    def __init__(self, acks, journal):
        self._acks, self._journal = Lines(acks), Lines(journal)
        self.acknowledged, self.stored = set(), set()
        self.stored_times = 0

    def check(self):
        self._read_acks()
        for request in self._journal.new():
            self.stored.add(request)
            self.stored_times += 1
        lost = self.acknowledged - self.stored
        assert not lost, f"{len(lost)} acknowledged and not stored: {sorted(lost)[:20]}"
        self._read_acks()
        begun = {sender: 1 for sender in range(SENDERS)}
        for sender, _ in self.acknowledged:
            begun[sender] += 1
        foreign = {(sender, seq) for sender, seq in self.stored if seq >= begun[sender]}
        assert not foreign, f"stored and never sent: {sorted(foreign)[:20]}"

    def _read_acks(self):
        for sender, seq, status in self._acks.new():
            assert status // 100 == 2, f"request {seq} of sender {sender} was answered {status}"
            self.acknowledged.add((sender, seq))

    def close(self):
        self._acks.close()
        self._journal.close()


@pytest.fixture
def keep():
    """Have a process or a port ended with the scenario."""
    kept = []

    def keep(one):
        kept.append(one)
        return one

    yield keep
    for one in reversed(kept):
        one.kill() if hasattr(one, "kill") else one.close()


def run(keep, tmp_path, kills, restart, proxy_url):
    """Kill what restart() starts, `kills` times, each time with writes under way."""
    chance = random.Random(7)
    journal, acks = tmp_path / "journal", tmp_path / "acks"
    oracle = keep(Oracle(acks, journal))
    victim = restart()
    load = keep(Loadgen(proxy_url, acks, SENDERS, 10 ** 9, SERIES, f"--rate={PER_S}", *RETRY))
    start_s = time.monotonic()
    try:
        for number in range(kills):
            if number % max(1, kills // 50) == 0:  # a look at all that was stored takes its time
                oracle.check()
            size = acks.stat().st_size
            until(lambda: acks.stat().st_size > size or not load.running(),
                  f"something is acknowledged after {number} kills")
            assert load.running(), load.log
            time.sleep(chance.uniform(0, 0.03))
            victim.kill()
            victim = restart()
        load.send_signal(signal.SIGTERM)
        code, result = load.result()
    finally:
        victim.kill()
    seconds = time.monotonic() - start_s
    oracle.check()
    print(f"\n{kills} kills in {seconds:.0f} s: {result['requests']} requests sent, "
          f"{len(oracle.acknowledged)} acknowledged, {len(oracle.stored)} stored; lost "
          f"{len(oracle.acknowledged - oracle.stored)}, stored again "
          f"{oracle.stored_times - len(oracle.stored)}")
    assert (code, result["requests"]) == (0, len(oracle.acknowledged)), result
    assert oracle.stored == oracle.acknowledged
    assert len(oracle.acknowledged) >= kills


def test_what_is_acknowledged_outlives_kills_of_the_proxy(keep, tmp_path):
    sink = keep(Sink("--delay-ms=3", journal=tmp_path / "journal"))
    port = keep(Port())
    run(keep, tmp_path, PROXY_KILLS, lambda: Proxy(sink.url, port=port),
        "http://127.0.0.1:%d" % port.number)
    stats = sink.stats()
    assert (stats["altered"], stats["foreign"], stats["undecodable"]) == (0, 0, 0)


def test_what_is_acknowledged_outlives_kills_of_the_gateway(keep, tmp_path):
    port = keep(Port())
    proxy = keep(Proxy("http://127.0.0.1:%d" % port.number))
    run(keep, tmp_path, GATEWAY_KILLS,
        lambda: Sink("--delay-ms=3", journal=tmp_path / "journal", port=port), proxy.url)
    proxy.finish()
