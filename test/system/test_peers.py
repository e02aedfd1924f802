"""Real peers on both sides: what they send through the proxy is what they would have stored
without it, sample by sample."""

import pytest

from harness import wire
from harness.peers import NodeExporter, Prometheus, VictoriaMetrics, floats_by_labels
from harness.waiting import in_background, results, until

# A peer without tenants, and time for requests to meet in one batch.
AS_PEER = ("--tenant.path-prefix=false", "--gateway.write-path=/api/v1/write",
           "--gateway.max-inflight=1", "--batch.linger=100ms")
SENDERS = 8
ROUNDS = 5
STEP_MS = 1000


@pytest.fixture
def start_peer(tmp_path_factory):
    """Start a peer in a directory of its own; it is ended with the scenario."""
    peers = []

    def start(kind, *arguments):
        peers.append(kind(tmp_path_factory.mktemp(kind.__name__.lower()), *arguments))
        return peers[-1]

    yield start
    for peer in peers:
        print(f"--- log of {peer.argv[0]} {peer.pid}\n{peer.log}")
        peer.close()


class Senders:
    """Senders that write at the same time, each its series in the order of their times."""

    def __init__(self):
        self.end_ms = wire.now_ms()
        self.start_ms = self.end_ms - ROUNDS * STEP_MS
        self.bodies = {}  # sender -> its requests, in order
        self.series = []  # all that is sent

    def add(self, make_series):
        """make_series(sender, time_ms, round) -> series of one request."""
        for sender in range(SENDERS):
            for number in range(ROUNDS):
                some = make_series(sender, self.start_ms + number * STEP_MS, number)
                self.series += some
                self.bodies.setdefault(sender, []).append(wire.body(*some))

    def write(self, proxy):
        def one(bodies):
            with proxy.client() as client:
                return {client.write(body).status for body in bodies}

        futures = [in_background(one, bodies) for bodies in self.bodies.values()]
        assert results(futures, timeout_s=60) == [{204}] * SENDERS
        batch_requests = proxy.metrics().value
        assert batch_requests("agent_proxy_batch_requests_sum") == SENDERS * ROUNDS
        assert batch_requests("agent_proxy_batch_requests_count") <= SENDERS * ROUNDS / 2

    def write_directly(self, peer):
        with peer.client() as client:
            for bodies in self.bodies.values():
                for body in bodies:
                    assert client.write(body, path="/api/v1/write").status == 204


def floats(sender, time_ms, number):
    last = number == ROUNDS - 1
    return [wire.series("value", sender + number / 4, start_ms=time_ms, sender=str(sender),
                        of=str(n)) for n in range(20)] + \
           [wire.series("ends", wire.STALE if last else number / 8, start_ms=time_ms,
                        sender=str(sender))]


def histograms(sender, time_ms, number):
    integer = wire.series("integer", sender=str(sender))
    integer.histograms.append(wire.integer_histogram(time_ms))
    floating = wire.series("floating", sender=str(sender))
    floating.histograms.append(wire.float_histogram(time_ms))
    return [integer, floating]


def exemplars(sender, time_ms, number):
    counter = wire.series("requests_total", float(number), start_ms=time_ms, sender=str(sender))
    exemplar = counter.exemplars.add(value=0.25 * number, timestamp=time_ms)
    wire.add_labels(exemplar, trace_id=f"{sender:016x}{number:016x}")
    return [counter]


def test_prometheus_stores_the_floats_bit_by_bit(start_proxy, start_peer):
    host = start_peer(Prometheus)
    senders = Senders()
    senders.add(floats)
    senders.write(start_proxy(host, *AS_PEER))

    stored = host.stored(senders.start_ms, senders.end_ms)
    assert stored == floats_by_labels(senders.series)
    assert sum(bits == wire.STALE_BITS for points in stored.values() for _, bits in points) == \
        SENDERS


def test_prometheus_stores_histograms_and_exemplars_as_without_the_proxy(start_proxy, start_peer):
    host, direct = start_peer(Prometheus), start_peer(Prometheus)
    senders = Senders()
    senders.add(lambda *at: [*histograms(*at), *exemplars(*at)])
    senders.write(start_proxy(host, *AS_PEER))
    senders.write_directly(direct)

    end_s = senders.end_ms / 1000
    for name in ("integer", "floating"):
        stored = host.histograms(name, end_s)
        assert stored == direct.histograms(name, end_s)
        assert [len(points) for points in stored.values()] == [ROUNDS] * SENDERS
    window = "requests_total", end_s - 60, end_s + 60
    assert host.exemplars(*window) == direct.exemplars(*window)
    assert [len(some) for some in host.exemplars(*window).values()] == [ROUNDS] * SENDERS
    assert host.stored(senders.start_ms, senders.end_ms, __name__="requests_total") == \
        direct.stored(senders.start_ms, senders.end_ms, __name__="requests_total")


def test_prometheus_takes_metadata(start_proxy, start_peer):
    """It keeps none of it, and must not stumble over it in a joined request."""
    family = wire.types.MetricMetadata(type="GAUGE", metric_family_name="value", help="A value")
    host = start_peer(Prometheus)
    proxy = start_proxy(host, *AS_PEER)
    now_ms = wire.now_ms()
    writers = [in_background(proxy.write, wire.body(metadata=[family])),
               in_background(proxy.write, wire.body(wire.series("value", 1.0, start_ms=now_ms)))]

    assert [response.status for response in results(writers)] == [204, 204]
    assert len(host.stored(now_ms, now_ms)) == 1


def test_victoriametrics_stores_what_was_sent(start_proxy, start_peer):
    host = start_peer(VictoriaMetrics)
    senders = Senders()
    senders.add(lambda *at: [*floats(*at), *exemplars(*at)])
    senders.write(start_proxy(host, *AS_PEER))

    def as_exported(sample):
        stale = wire.float_bits(sample.value) == wire.STALE_BITS
        return sample.timestamp, None if stale else sample.value

    sent = {}
    for one in senders.series:
        labels = frozenset((label.name, label.value) for label in one.labels)
        sent.setdefault(labels, []).extend(map(as_exported, one.samples))
    assert host.stored('{__name__!=""}') == sent


def test_one_sender_with_bad_data_costs_the_others_nothing(start_proxy, start_peer):
    """Prometheus rolls a whole request back for one sample that is out of order."""
    host = start_peer(Prometheus)
    proxy = start_proxy(host, *AS_PEER)
    now_ms = wire.now_ms()
    newest = wire.series("bad", 1.0, start_ms=now_ms)
    assert proxy.write(wire.body(newest)).status == 204
    older = wire.series("bad", 2.0, start_ms=now_ms - 60_000)
    good = [wire.series(f"good_{n}", 1.0, start_ms=now_ms) for n in range(4)]

    bodies = [wire.body(one) for one in (good[0], good[1], older, good[2], good[3])]
    responses = results([in_background(proxy.write, body) for body in bodies])

    assert [response.status for response in responses] == [204, 204, 400, 204, 204]
    assert "out of order" in responses[2].text
    assert host.stored(now_ms - 100_000, now_ms) == floats_by_labels([newest, *good])


MEMBER_CONFIG = """
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["{exporter}"]}}]
  - job_name: agent-proxy
    static_configs: [{{targets: ["{proxy}"]}}]
remote_write:
  - url: http://{proxy}/api/v1/receive
    send_exemplars: true
    send_native_histograms: true
    queue_config: {{min_shards: 4, max_shards: 4, max_samples_per_send: 100, capacity: 500,
                   batch_send_deadline: 200ms}}
"""


def test_a_real_prometheus_writes_through_the_proxy_into_another(start_proxy, start_peer):
    """A member scrapes a node-exporter, which ends at some point, and the proxy itself. What the
    member has is what the host has: all series, all samples, the stale markers of the end."""
    start_ms = wire.now_ms()
    host = start_peer(Prometheus)
    proxy = start_proxy(host, *AS_PEER[:3])
    exporter = NodeExporter()
    try:
        member = start_peer(Prometheus, MEMBER_CONFIG.format(
            exporter="%s:%d" % exporter.address, proxy="%s:%d" % proxy.address))

        def load(peer):
            points = peer.stored(start_ms, wire.now_ms(), __name__="node_load1").values()
            return next(iter(points), [])

        until(lambda: len(load(member)) >= 3, "three scrapes of the node-exporter")
    finally:
        exporter.close()
    until(lambda: load(member)[-1][1] == wire.STALE_BITS, "the member notices the end")

    end_ms = load(member)[-1][0]
    here = member.stored(start_ms, end_ms)
    until(lambda: host.stored(start_ms, end_ms).keys() >= here.keys() and
          load(host)[-1:] == load(member)[-1:], "the host has the end")
    until(lambda: host.stored(start_ms, end_ms) == member.stored(start_ms, end_ms),
          "the host has what the member has", timeout_s=10)
    assert len(here) > 200
    metrics = proxy.metrics()
    assert metrics.value("agent_proxy_write_requests_total", outcome="refused") == 0
    assert metrics.value("agent_proxy_write_requests_total", outcome="unavailable") == 0
    assert metrics.value("agent_proxy_samples_total", outcome="accepted") >= \
        sum(map(len, here.values()))
