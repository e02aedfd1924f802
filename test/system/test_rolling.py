"""A gateway behind a name with two addresses, rolled from one to the other and back under load.

The name is made in a mount namespace of the proxy's own: the machine's /etc/hosts stays as it is.
"""

import itertools
import os
import signal
import subprocess
import time

import pytest

from harness.bench import Loadgen, Sink, journal
from harness.ports import Port
from harness.process import Process
from harness.proxy import BINARY
from harness.waiting import until

ROLLS = int(os.environ.get("ROLLS", "20"))
AGE_S = 2
LATE_S = 1  # a connection is looked at when a write needs it; and a busy machine
NAME = "gateway.test"
ADDRESSES = ["127.0.0.1", "127.0.0.2"]
SENDERS, SERIES, PER_S = 16, 50, 500
DELAY_MS = 20  # of each answer, so that many connections are in use
PRIVATE_HOSTS = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]),
                 "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']


class Replica(Sink):
    """A sink at one of the addresses; its journal outlives it."""

    def __init__(self, folder, address, port):
        self.journal = folder / f"journal-{address}"
        super().__init__(f"--listen={address}:{port.number}", f"--delay-ms={DELAY_MS}",
                         journal=self.journal, port=port)
        self.address = (address, port.number)

    def posts(self):
        return self.stats()["posts"]


class NamedGatewayProxy(Process):
    """agent-proxy in front of a gateway that its hosts file names."""

    def __init__(self, folder, gateway_port, port, *flags):
        hosts = folder / "hosts"
        hosts.write_text("".join(f"{address} {NAME}\n" for address in ADDRESSES))
        self.url = f"http://127.0.0.1:{port.number}"
        super().__init__([*PRIVATE_HOSTS, hosts, BINARY,
                          f"--gateway.address=http://{NAME}:{gateway_port.number}",
                          "--tenant=member-1", f"--http-address=127.0.0.1:{port.number}",
                          "--workers=1", f"--gateway.max-connection-age={AGE_S}s", *flags])
        self.wait_line("agent-proxy started")


@pytest.fixture
def scene(tmp_path):
    """(proxy, load, start a replica at an address)."""
    probe = subprocess.run([*PRIVATE_HOSTS, "/etc/hosts", "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"no mount namespace of one's own: {probe.stderr.strip()}")
    processes = []

    def keep(process):
        processes.append(process)
        return process

    with Port() as gateway_port, Port() as port:
        proxy = keep(NamedGatewayProxy(tmp_path, gateway_port, port,
                                       f"--gateway.max-inflight={SENDERS}"))
        load = keep(Loadgen(proxy.url, tmp_path / "acks", SENDERS, 10 ** 6, SERIES, "--retry",
                            "--retry-max-wait=50", f"--rate={PER_S}", "--deadline=600"))
        try:
            yield proxy, load, lambda address: keep(Replica(tmp_path, address, gateway_port))
            assert proxy.stop() == 0
            proxy.assert_no_sanitizer_report()
        finally:
            print(f"--- log of agent-proxy\n{proxy.log[-3000:]}")
            for process in reversed(processes):
                process.kill()


def finish(load, *replicas):
    """Everyone was answered 204 in the end, and nothing but 503 before; all of it is stored."""
    load.send_signal(signal.SIGTERM)
    code, result = load.result()
    assert (code, result["acknowledged"]) == (0, result["requests"]), result
    assert (result["connection_errors"], result["timeouts"]) == (0, 0), result
    assert set(result["status"]) <= {"204", "503"}, result
    stored = set().union(*(journal(replica.journal) for replica in replicas))
    assert load.acknowledged() == stored
    return result


def goes_on(load, count=50):
    """Wait until so many more requests are acknowledged."""
    seen = len(load.acknowledged())
    until(lambda: len(load.acknowledged()) >= seen + count, "senders are acknowledged",
          pause_s=0.05)


def test_a_gateway_that_rolls_between_two_addresses_is_followed(scene):
    _, load, start = scene
    addresses = itertools.cycle(ADDRESSES)
    old = start(next(addresses))
    goes_on(load)
    longest_s = 0
    for number in range(ROLLS):
        new = start(next(addresses))
        if number % 2:
            goes_on(load, 10)
        # In order or not: to senders it is the same.
        old.kill() if number % 4 < 2 else old.stop(signal.SIGTERM)
        start_s = time.monotonic()
        goes_on(load)
        longest_s = max(longest_s, time.monotonic() - start_s)
        old, last = new, old
    result = finish(load, old, last)
    print(f"\n{ROLLS} rolls: {result['status']}, {result['requests']} requests, the longest time "
          f"to 50 acknowledgements {longest_s:.2f} s")


def test_connections_spread_over_the_addresses_of_a_name(scene):
    """With both up, and again after one was away: when connections have reached their age, both
    addresses are used."""
    _, load, start = scene
    replicas = [start(address) for address in ADDRESSES]
    goes_on(load)

    def both_are_used():
        before = [replica.posts() for replica in replicas]
        start_s = time.monotonic()
        until(lambda: all(replica.posts() > seen for replica, seen in zip(replicas, before)),
              "both addresses are used", timeout_s=AGE_S + LATE_S)
        return time.monotonic() - start_s

    spread_s = [both_are_used()]
    replicas[0].kill()
    goes_on(load)
    replicas[0] = start(ADDRESSES[0])
    spread_s.append(both_are_used())
    finish(load, *replicas)
    print("\nboth addresses were used after", ", ".join(f"{one:.1f} s" for one in spread_s))
