"""What a sender does wrong is told to that sender, in one line, and to nobody else."""

import re
import socket
import struct
import threading

import pytest
import snappy

from harness import http1, wire
from harness.client import WRITE_HEADERS, WRITE_PATH
from harness.waiting import in_background, until

MIB = 1 << 20
LIMITS = ("--limits.body-bytes=1048576", "--limits.decoded-bytes=2097152")


@pytest.fixture
def good_body():
    return wire.body(wire.series("up", 1.0))


def refused(response, status, *words):
    """A refusal is the status and one line of text for the log of the sender."""
    assert response.status == status, response
    lines = response.text.splitlines()
    assert len(lines) == 1 and lines[0].isprintable(), response.text
    for word in words:
        assert re.search(word, lines[0]), f"{word!r} is not in {lines[0]!r}"
    return True


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
@pytest.mark.parametrize("path", ["/api/v1/receive", "/api/v1/write"])
def test_a_write_is_a_post(gateway, proxy, method, path):
    response = proxy.get(path, method=method)
    assert refused(response, 405)
    assert response.headers.get("Allow") == "POST"
    assert gateway.posts == []


@pytest.mark.parametrize("headers", [
    {"Content_Type": "application/json"},
    {"Content_Type": "text/plain"},
    {"Content_Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"},
    {"Content_Type": "application/x-protobuf; proto=io.prometheus.write.v2.Request",
     "X_Prometheus_Remote_Write_Version": "2.0.0"},
    {"Content_Type": "application/x-protobuf;proto=unheard.of"},
    {"Content_Type": None},
    {"Content_Encoding": "gzip"},
    {"Content_Encoding": "snappy, gzip"},
    {"Content_Encoding": "zstd"},
], ids=str)
def test_what_is_not_remote_write_1_is_unsupported(gateway, proxy, good_body, headers):
    assert refused(proxy.write(good_body, **headers), 415)
    assert gateway.posts == []


@pytest.mark.parametrize("target, status", [
    ("/", 405), ("/api/v1", 404), ("/api/v1/receive/", 404), ("/api/v1/writes", 404),
    ("/API/v1/write", 404), ("/member-1/api/v1/receive", 404), ("/api/v1/admin/tsdb", 404),
    ("/api/v1/%72eceive", 400), ("/api/v1%2freceive", 400), ("/api/v1/%2e%2e/receive", 400),
    ("/api/v1/../v1/receive", 400), ("//api/v1/receive", 400), ("/api/v1/receive%00", 400),
    ("/api/v1\\receive", 400),
])
def test_only_the_exact_path_is_routed(gateway, proxy, good_body, target, status):
    assert refused(proxy.write(good_body, path=target), status)
    assert gateway.posts == []


def test_a_query_string_changes_nothing(gateway, proxy, good_body):
    assert proxy.write(good_body, path=WRITE_PATH + "?x=../../etc").status == 204
    assert gateway.posts[0].target == "/member-1/api/v1/receive"


class TestTooLarge:
    @pytest.fixture
    def proxy(self, gateway, start_proxy):
        yield start_proxy(gateway, *LIMITS)
        assert gateway.posts == []

    def test_by_its_declared_length(self, proxy):
        assert refused(proxy.write(bytes(MIB + 1)), 413, str(MIB))

    def test_a_chunked_body_that_grows_over_the_limit(self, proxy):
        assert refused(proxy.write(bytes(3 * MIB), chunk_bytes=65536), 413, str(MIB))

    def test_by_its_decoded_length(self, proxy):
        decoded = wire.write_request(wire.series("big", 1.0, padding="x" * (2 * MIB)))
        block = snappy.compress(decoded)
        assert len(block) < MIB
        assert refused(proxy.write(block), 413, str(2 * MIB))

    @pytest.mark.parametrize("chunk_bytes", [None, 65536])
    def test_a_sender_that_writes_all_of_its_body_still_hears_the_answer(self, proxy, chunk_bytes):
        """To a reset it would come again for ever, with the same body."""
        assert refused(proxy.write(bytes(32 * MIB), chunk_bytes=chunk_bytes), 413)

    def test_who_asks_first_is_told_before_sending(self, proxy):
        with proxy.client() as client:
            headers = {**WRITE_HEADERS, "Content-Length": str(2 * MIB), "Expect": "100-continue"}
            client.send(client.head("POST", WRITE_PATH, headers))
            assert client.read_interim() == 413


@pytest.mark.parametrize("size, options, status", [
    (33 * MIB, {}, 413), (33 * MIB, {"chunk_bytes": 65536}, 413),
    (32 * MIB, {"Content_Type": "text/plain"}, 415), (32 * MIB, {"path": "/nowhere"}, 404),
    (32 * MIB, {}, 400),
], ids=str)
def test_a_large_body_is_read_to_its_end_so_that_no_reset_overtakes_the_answer(
        gateway, start_proxy, size, options, status):
    proxy = start_proxy(gateway, "--limits.memory-bytes=256MiB")
    assert refused(proxy.write(bytes(size), **options), status)
    assert gateway.posts == []


def test_the_limits_themselves_are_within(gateway, start_proxy):
    decoded = wire.write_request(wire.series("limit", 1.0, padding="x" * 2000))
    block = wire.literal_block(decoded)
    proxy = start_proxy(gateway, f"--limits.body-bytes={len(block)}",
                        f"--limits.decoded-bytes={len(decoded)}")

    assert proxy.write(block).status == 204
    assert proxy.write(block, chunk_bytes=100).status == 204


def test_a_body_above_the_memory_budget_can_never_fit(gateway, start_proxy):
    """A 503 would bring it back for ever."""
    proxy = start_proxy(gateway, "--limits.memory-bytes=1MiB")
    assert refused(proxy.write(bytes(MIB + 1)), 413, f"limit of {MIB} bytes")
    assert proxy.write(wire.body(wire.series("up", 1.0))).status == 204


@pytest.mark.parametrize("path", [WRITE_PATH, "/api/v1/otlp"])
def test_large_lengths_that_are_only_declared_hold_up_nobody(gateway, start_proxy, good_body, path):
    proxy = start_proxy(gateway, "--limits.memory-bytes=64MiB")

    def used():
        return proxy.metrics().value("agent_proxy_memory_budget_used_bytes")

    with proxy.client() as first, proxy.client() as second:
        for client in first, second:
            headers = {**WRITE_HEADERS, "Content-Length": str(32 * MIB)}
            client.send(client.head("POST", path, headers) + b"and no more")
            until(lambda: used() >= 32 * MIB, "a large body is on its way")
        assert proxy.write(good_body).status == 204
        assert refused(proxy.write(bytes(2 * MIB)), 503, "large bodies")
    until(lambda: used() == 0, "nothing is held for those that went")
    assert refused(proxy.write(bytes(32 * MIB)), 400, "snappy")


@pytest.mark.parametrize("chunk_bytes", [None, 65536])
def test_a_body_that_is_allowed_fits_also_if_it_takes_all_of_the_budget(gateway, start_proxy,
                                                                        chunk_bytes):
    proxy = start_proxy(gateway, "--limits.memory-bytes=40MiB", "--limits.body-bytes=40MiB")
    assert refused(proxy.write(bytes(36 * MIB), chunk_bytes=chunk_bytes), 400, "snappy")
    headers = {"Content-Type": "application/x-protobuf"}
    with proxy.client() as client:
        assert client.request("POST", "/api/v1/otlp", headers, bytes(36 * MIB),
                              chunk_bytes).status == 200


def test_a_decompression_bomb_is_refused_by_its_first_bytes(gateway, proxy):
    bomb = wire.varint(30 * MIB) + b"\0a"
    assert refused(proxy.write(bomb), 400, "byte")
    assert gateway.posts == []


GOOD = wire.field_bytes(1, wire.field_bytes(1, wire.field_bytes(1, b"__name__")))
NOT_SNAPPY = {
    "empty": b"",
    "no end of the length": b"\xff\xff\xff\xff\xff\xff",
    "length over 32 bits": b"\xff\xff\xff\xff\x7f" + b"\0a",
    "random bytes": bytes(range(200, 256)) * 4,
    "truncated": wire.literal_block(GOOD * 10)[:-1],
    "longer than it says": wire.varint(1) + wire.literal_block(GOOD)[1:],
    "shorter than it says": wire.varint(len(GOOD) + 1) + wire.literal_block(GOOD)[1:],
    "copies from before its start": wire.varint(8) + bytes([0b0000_1101, 9]) + b"\x0ca",
    "a framed stream": b"\xff\x06\x00\x00sNaPpY" + b"\x01\x09\x00\x00" + bytes(9),
    "json": b'{"timeseries":[]}',
}
NOT_A_WRITE_REQUEST = {
    "length beyond the end": wire.varint(1 << 3 | 2) + wire.varint(100) + b"x",
    "varint without end": b"\xff" * 11,
    "a group": bytes([1 << 3 | 3, 1 << 3 | 4]),
    "wire type 6": bytes([9 << 3 | 6, 0]),
    "a sample that is cut": wire.field_bytes(1, wire.field_bytes(2, b"\x09\0\0")),
    "text": b"# HELP up Whether the target answers.\n",
}


@pytest.mark.parametrize("block", NOT_SNAPPY.values(), ids=NOT_SNAPPY.keys())
def test_what_is_not_snappy(gateway, proxy, block):
    assert refused(proxy.write(block), 400, r"snappy", r"byte \d+")
    assert gateway.posts == []


@pytest.mark.parametrize("decoded", NOT_A_WRITE_REQUEST.values(), ids=NOT_A_WRITE_REQUEST.keys())
def test_what_is_not_a_write_request(gateway, proxy, decoded):
    response = proxy.write(wire.literal_block(decoded))
    assert refused(response, 400, r"(?i)protobuf|write ?request", r"byte \d+")
    assert gateway.posts == []


def test_the_offset_is_that_of_the_damage(gateway, proxy):
    whole = GOOD * 7
    response = proxy.write(wire.literal_block(whole + wire.varint(1 << 3 | 2) + b"\x7f"))
    offset = int(re.search(r"byte (\d+)", response.text)[1])
    assert len(whole) <= offset <= len(whole) + 2


def test_good_senders_do_not_notice_a_bad_one(gateway, start_proxy, good_body):
    """The bad one sends every kind of rubbish, again and again, while the good ones write."""
    proxy = start_proxy(gateway, "--gateway.max-inflight=1")
    rubbish = [*NOT_SNAPPY.values(), *map(wire.literal_block, NOT_A_WRITE_REQUEST.values())]
    done = threading.Event()

    def write_rubbish():
        statuses = set()
        while not done.is_set():
            for block in rubbish:
                statuses.add(proxy.write(block).status)
        return statuses

    def write_good(name):
        with proxy.client() as client:
            return [client.write(wire.body(wire.series(name, float(n)))).status
                    for n in range(50)]

    bad = in_background(write_rubbish)
    good = [in_background(write_good, f"good_{n}") for n in range(4)]
    try:
        for future in good:
            assert future.result(60) == [204] * 50
    finally:
        done.set()
    assert bad.result(60) == {400}
    arrived = [(name, one.samples[0].value)
               for post in gateway.posts
               for name, one in zip(wire.names(post.request), post.request.timeseries)]
    assert sorted(arrived) == sorted((f"good_{n}", float(v)) for n in range(4) for v in range(50))
    for n in range(4):
        assert [v for name, v in arrived if name == f"good_{n}"] == [float(v) for v in range(50)]


SMUGGLED = {
    "two lengths": "Content-Length: 2\r\nContent-Length: 3\r\n",
    "length and chunked": "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    "an unknown coding": "Transfer-Encoding: gzip\r\n",
    "two codings": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "a length that is no number": "Content-Length: 2x\r\n",
    "a negative length": "Content-Length: -2\r\n",
    "two hosts": "Host: a\r\nHost: b\r\nContent-Length: 2\r\n",
}


@pytest.mark.parametrize("framing", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_framing_that_two_readers_could_read_differently_is_refused(gateway, proxy, framing):
    """Refused, and the connection closed: what follows is never taken for a request."""
    hidden = "GET /-/healthy HTTP/1.1\r\nHost: hidden\r\n\r\n"
    fields = "".join(f"{name}: {value}\r\n" for name, value in WRITE_HEADERS.items())
    with proxy.client() as client:
        client.send(f"POST {WRITE_PATH} HTTP/1.1\r\nHost: proxy\r\n{fields}{framing}\r\n"
                    f"0\r\n\r\n{hidden}".encode())
        try:
            assert client.read_response().status == 400
            # libmicrohttpd writes the head of its own 400 twice for a length that it cannot read.
            assert b"200 OK" not in client.rest()
        except (http1.Broken, ConnectionError):
            pass  # closed without a word is safe as well
    assert gateway.posts == []


def test_a_sender_that_leaves_in_mid_body_leaves_nothing_behind(gateway, proxy, good_body):
    for _ in range(20):
        with proxy.client() as client:
            client.send(client.head("POST", WRITE_PATH, {**WRITE_HEADERS, "Content-Length": "999"}))
            client.send(b"some of it")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert proxy.write(good_body).status == 204
    assert len(gateway.posts) == 1


def test_a_sender_that_leaves_before_its_answer_does_not_disturb_its_batch(gateway, start_proxy):
    proxy = start_proxy(gateway, "--gateway.max-inflight=1")
    with gateway.holding():
        first = in_background(proxy.write, wire.body(wire.series("first", 1.0)))
        gateway.wait_posts(1)
        leaver = proxy.client()
        leaver.send_request("POST", WRITE_PATH, WRITE_HEADERS, wire.body(wire.series("left", 1.0)))
        proxy.wait_waiting(2)
        stayer = in_background(proxy.write, wire.body(wire.series("stayed", 1.0)))
        proxy.wait_waiting(3)
        leaver.close()

    assert first.result(20).status == 204
    assert stayer.result(20).status == 204
    assert "stayed" in wire.names(gateway.posts[-1].request)
