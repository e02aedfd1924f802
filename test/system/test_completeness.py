"""Remote Write 1.0 is complete: whatever a sender may put into a write arrives bit by bit."""

import math

import pytest
import snappy

from harness import wire
from harness.waiting import in_background, results

VALUES = [0.0, -0.0, 1.5, -math.inf, math.inf, 5e-324, 1.7976931348623157e308, wire.STALE]
TIME_MS = 1_700_000_000_123


def sent_and_arrived(gateway, proxy, decoded):
    """Write the decoded request; return what the gateway got, decoded."""
    assert proxy.write(snappy.compress(decoded)).status == 204
    (post,) = gateway.posts
    return post.decoded


def test_floats_and_stale_markers_arrive_bit_by_bit(gateway, proxy):
    decoded = wire.write_request(wire.series("extremes", *VALUES))

    arrived = sent_and_arrived(gateway, proxy, decoded)

    assert arrived == decoded
    bits = [wire.float_bits(sample.value) for sample in wire.parse(arrived).timeseries[0].samples]
    assert bits == [wire.float_bits(value) for value in VALUES]
    assert bits[-1] == wire.STALE_BITS


def test_histograms_exemplars_and_metadata_arrive(gateway, proxy):
    integer, floating = wire.series("integer"), wire.series("floating")
    integer.histograms.append(wire.integer_histogram(TIME_MS))
    floating.histograms.append(wire.float_histogram(TIME_MS))
    counter = wire.series("requests_total", 7.0)
    exemplar = counter.exemplars.add(value=0.5, timestamp=TIME_MS)
    wire.add_labels(exemplar, trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    family = wire.types.MetricMetadata(type="COUNTER", metric_family_name="requests_total",
                                       help="Requests, \n \\ \u00e4", unit="1")
    decoded = wire.write_request(integer, floating, counter, metadata=[family])

    assert sent_and_arrived(gateway, proxy, decoded) == decoded

    metrics = proxy.metrics()
    assert metrics.value("agent_proxy_series_total") == 3
    assert metrics.value("agent_proxy_samples_total", outcome="accepted") == 1
    assert metrics.value("agent_proxy_histograms_total") == 2
    assert metrics.value("agent_proxy_exemplars_total") == 1
    assert metrics.value("agent_proxy_metadata_total") == 1


UNKNOWN = (wire.field_varint(50, 7) + wire.field_bytes(51, b"from the future")
           + wire.field_fixed64(52, 2**63) + wire.field_fixed32(53, 2**31)
           + wire.field_varint(536_870_911, 2**64 - 1))


def test_unknown_fields_inside_a_series_survive(gateway, proxy):
    sample = wire.field_fixed64(1, wire.STALE_BITS) + wire.field_varint(2, TIME_MS) + UNKNOWN
    label = wire.field_bytes(1, b"__name__") + wire.field_bytes(2, b"up") + UNKNOWN
    one = UNKNOWN + wire.field_bytes(1, label) + wire.field_bytes(2, sample) + UNKNOWN
    decoded = wire.field_bytes(1, one) * 3

    assert sent_and_arrived(gateway, proxy, decoded) == decoded


def test_bytes_arrive_as_they_came_and_not_re_encoded(gateway, proxy):
    """Fields out of order, a length in more bytes than it needs, default values written out."""
    label = wire.field_bytes(2, b"up") + wire.field_bytes(1, b"__name__")
    sample = wire.field_varint(2, 0) + wire.field_fixed64(1, 0)
    one = wire.field_bytes(2, sample) + wire.field_bytes(1, label)
    decoded = wire.varint(1 << 3 | 2) + bytes([len(one) | 0x80, 0x80, 0]) + one

    assert sent_and_arrived(gateway, proxy, decoded) == decoded


def test_how_a_sender_compressed_makes_no_difference(gateway, proxy):
    decoded = wire.write_request(*(wire.series("up", 1.0, instance=f"i{n}") for n in range(200)))

    for block in (snappy.compress(decoded), wire.literal_block(decoded)):
        assert proxy.write(block).status == 204
    assert [post.decoded for post in gateway.posts] == [decoded, decoded]


@pytest.mark.parametrize("unusual", [
    pytest.param(wire.field_bytes(2, b"\x0a\x00"), id="the reserved field"),
    pytest.param(wire.field_varint(9, 1), id="a field of a later version")])
def test_a_request_with_an_unusual_field_is_sent_alone(gateway, start_proxy, unusual):
    proxy = start_proxy(gateway, "--gateway.max-inflight=1")
    usual = [wire.write_request(wire.series(f"usual_{n}", 1.0)) for n in range(4)]
    odd = wire.write_request(wire.series("odd", 1.0)) + unusual
    with gateway.holding():
        writers = [in_background(proxy.write, snappy.compress(usual[0]))]
        gateway.wait_posts(1)
        for waiting, decoded in enumerate([usual[1], odd, usual[2], usual[3]], start=2):
            writers.append(in_background(proxy.write, snappy.compress(decoded)))
            proxy.wait_waiting(waiting)

    assert [response.status for response in results(writers)] == [204] * 5
    sent = [post.decoded for post in gateway.posts]
    assert odd in sent
    assert sorted(wire.names(wire.parse(b"".join(sent)))) == \
        ["odd", "usual_0", "usual_1", "usual_2", "usual_3"]
