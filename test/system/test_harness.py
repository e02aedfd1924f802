"""The harness itself, before anything is concluded with it."""

import sys

import pytest
import snappy

from harness import http1, prometheus_text, wire
from harness.client import Client
from harness.gateway import answer, close, cut_short, hang, raw, reset
from harness.ports import Port
from harness.process import Process
from harness.waiting import in_background, results, until


def test_the_gateway_records_what_it_is_sent(gateway):
    body = wire.body(wire.series("up", 1.0, 2.0))
    with Client(gateway.address) as client:
        assert client.write(body).status == 200
        assert client.write(body, chunk_bytes=7).status == 200

    first, second = gateway.posts
    assert (first.method, first.target) == ("POST", "/api/v1/receive")
    assert first.headers.get("content-encoding") == "snappy"
    assert first.body == second.body == body
    assert wire.names(first.request) == ["up"]
    assert first.connection == second.connection


def test_the_gateway_plays_its_script(gateway):
    gateway.script(answer(503, b"busy", Retry_After=7), close, reset, cut_short(), raw(b"\0\r\n\r\n"))
    with Client(gateway.address) as client:
        response = client.write(b"")
        assert (response.status, response.text) == (503, "busy")
        assert response.headers.get("Retry-After") == "7"
    with Client(gateway.address) as client, pytest.raises(http1.Broken, match="before a response"):
        client.write(b"")
    with Client(gateway.address) as client, pytest.raises(ConnectionResetError):
        client.write(b"")
    with Client(gateway.address) as client, pytest.raises(http1.Broken, match="ended after 9"):
        client.write(b"")
    with Client(gateway.address) as client, pytest.raises(http1.Broken, match="not a status line"):
        client.write(b"")
    with Client(gateway.address) as client:
        assert client.write(b"").status == 200


def test_the_gateway_holds_and_hangs(gateway):
    with gateway.holding():
        writers = [in_background(Client(gateway.address).write, b"") for _ in range(3)]
        assert len(gateway.wait_posts(3)) == 3
        assert not any(writer.done() for writer in writers)
    assert [response.status for response in results(writers)] == [200] * 3

    gateway.script(hang)
    with Client(gateway.address, timeout_s=0.05) as client, pytest.raises(TimeoutError):
        client.write(b"")


def test_literal_blocks_are_snappy():
    data = bytes(range(256)) * 3
    assert snappy.decompress(wire.literal_block(data)) == data


def test_stale_markers_keep_their_bits():
    request = wire.parse(wire.write_request(wire.series("gone", wire.STALE)))
    assert wire.float_bits(request.timeseries[0].samples[0].value) == wire.STALE_BITS


def test_a_port_can_be_taken_by_number_again_and_again():
    def listens():
        try:
            Client(("127.0.0.1", port.number)).close()
        except ConnectionRefusedError:
            return False
        return True

    with Port() as port:
        for _ in range(2):
            child = Process([sys.executable, "-m", "http.server", "-b", "127.0.0.1", port.number])
            until(listens, "the server listens")
            child.kill()


def test_a_process_tells_its_lines_and_its_end():
    child = Process(["sh", "-c", "echo one; echo two >&2; exit 3"])
    assert child.wait_line("tw(.)")[1] == "o"
    assert child.wait() == 3
    assert child.lines == ["one", "two"]
    with pytest.raises(AssertionError, match="no line 'three'"):
        child.wait_line("three")


def test_the_text_format_is_read():
    metrics = prometheus_text.parse('# HELP a b\na_total{x="1",y="\\"2"} 3\na_total{x="1"} 4\nb 1e3\n')
    assert metrics.value("b") == 1000
    assert metrics.value("a_total", x="1") == 4
    assert metrics.sum("a_total", x="1") == 7
