"""Answers as streams: what a slow client costs, what its end ends, and how an end shows."""

import signal
import socket
import time

import pytest

from harness import http1
from harness.gateway import delayed, reset
from harness.reads import (SlowClients, begin, break_off, in_flight, is_sanitized, read_count,
                           rss_bytes, silence, stream, wait_in_flight)
from harness.reads import reset as reset_client
from harness.waiting import in_background, until

MIB = 1 << 20
TARGET = "/api/v1/query?query=up"
CANCELLED = "agent_proxy_read_requests_cancelled_total"
CHUNKED = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])


def send(proxy, target=TARGET):
    client = proxy.client()
    client.send_request("GET", target)
    return client


# A slow client pauses the gateway.

@CHUNKED
@pytest.mark.parametrize("count, seconds, limit", [(1, 5, 2 * MIB), (64, 5, 40 * MIB)])
def test_slow_clients_cost_a_bounded_window(gateway, start_proxy, count, seconds, limit, chunked):
    """1 GiB for each, of which each takes 1 MiB/s."""
    proxy = start_proxy(gateway)
    sanitized = is_sanitized(proxy)
    gateway.on_post = lambda post: stream(16 * MIB if sanitized else 1 << 30, chunked)
    assert send(proxy).read_interim() == 200  # what the first read of all makes ready is no growth
    until(lambda: in_flight(proxy) == 0, "the first read is over")
    before = rss_bytes(proxy)
    peak = before
    with SlowClients(proxy.address, count) as clients:
        end = time.monotonic() + (1 if sanitized else seconds)
        while time.monotonic() < end:
            time.sleep(0.1)
            peak = max(peak, rss_bytes(proxy))
        assert clients.taken > (1 if sanitized else count * MIB)
    print(f"grown by {(peak - before) / MIB:.2f} MiB for {count} clients")
    if not sanitized:
        assert peak - before < limit
    until(lambda: in_flight(proxy) == 0, "all are gone")


@CHUNKED
def test_an_answer_beyond_the_window_comes_whole(gateway, start_proxy, chunked):
    """Through the smallest windows, too; the client looks away in between."""
    for window in ("64KiB", "256KiB", "4MiB"):
        proxy = start_proxy(gateway, f"--reads.window-bytes={window}")
        gateway.script(stream(9 * MIB + 1, chunked))
        with send(proxy) as client:
            time.sleep(0.2)
            answer = client.read_response()
        block = bytes(i % 251 for i in range(256 * 1024))
        assert answer.body == (block * 37)[:9 * MIB + 1]
        assert answer.headers.get("Content-Length") == (None if chunked else str(9 * MIB + 1))


def test_pieces_are_handed_on_as_they_come(gateway, proxy):
    """Half an answer is with the client while the gateway still works on the rest."""
    gateway.script(begin(first=b"first piece", chunked=True))
    with send(proxy) as client:
        data = b""
        while b"first piece" not in data:
            data += client.socket.recv(4096)


# A client that leaves takes its query with it.

def leave_in_order(client):
    client.close()


def leave_by_reset(client):
    reset_client(client.socket)
    client.close()


LEAVE = pytest.mark.parametrize("leave", [leave_in_order, leave_by_reset],
                                ids=["fin", "rst"])


def assert_cancelled(proxy, play, left_s, cancelled=1):
    until(lambda: play.ended, "the gateway sees the end", pause_s=0.002)
    took_s = play.ended[0] - left_s
    print(f"seen after {took_s * 1000:.1f} ms")
    assert took_s < (1 if is_sanitized(proxy) else 0.1)
    wait_in_flight(proxy, 0)
    assert proxy.metrics().value(CANCELLED) == cancelled


@LEAVE
def test_a_client_gone_while_it_waits(gateway, proxy, leave):
    play = silence()
    gateway.script(play)
    client = send(proxy)
    gateway.wait_posts(1)
    left_s = time.monotonic()
    leave(client)
    assert_cancelled(proxy, play, left_s)
    assert read_count(proxy) == 0


@LEAVE
@CHUNKED
def test_a_client_gone_in_mid_answer(gateway, proxy, leave, chunked):
    """The gateway is silent meanwhile, so only the client's end tells."""
    play = begin(chunked=chunked)
    gateway.script(play)
    client = send(proxy)
    client.socket.recv(4096)
    left_s = time.monotonic()
    leave(client)
    assert_cancelled(proxy, play, left_s)


@LEAVE
def test_a_client_gone_while_the_gateway_is_paused(gateway, proxy, leave):
    """The window and all buffers are full: the gateway's send fails once the client is gone."""
    ended = []

    def play(connection):
        try:
            return stream(1 << 30)(connection)
        except OSError:
            ended.append(time.monotonic())
            raise

    play.ended = ended
    gateway.script(play)
    client = send(proxy)
    client.socket.recv(4096)
    time.sleep(0.5)
    assert not ended
    left_s = time.monotonic()
    leave(client)
    assert_cancelled(proxy, play, left_s)


@LEAVE
def test_a_client_gone_while_queued(gateway, start_proxy, leave):
    """It is never asked for, and the next in the queue is."""
    proxy = start_proxy(gateway, "--reads.max-inflight=1")
    with gateway.holding():
        first, second, third = [send(proxy, f"{TARGET}&n={n}") for n in range(3)]
        gateway.wait_posts(1)
        time.sleep(0.1)
        leave(second)
        until(lambda: proxy.metrics().value(CANCELLED) == 1, "the second is cancelled")
    for client in (first, third):
        assert client.read_response().status == 200
        client.close()
    assert [post.target[-1] for post in gateway.posts] in (["0", "2"], ["2", "0"])


def test_a_client_gone_with_its_query_half_sent(gateway, proxy):
    client = proxy.client()
    client.send(client.head("POST", "/api/v1/query", {"Content-Length": "1000"}) + b"query=")
    time.sleep(0.1)
    client.close()
    until(lambda: proxy.metrics().value("agent_proxy_connections") <= 1, "it is forgotten")
    assert gateway.posts == []


# An answer that the gateway breaks off is visibly short.

@pytest.mark.parametrize("end", [None, reset], ids=["fin", "rst"])
@pytest.mark.parametrize("head, body, last", [
    (b"Content-Length: 100000", b"x" * 50_000, b""),
    (b"Transfer-Encoding: chunked", b"c350\r\n" + b"x" * 50_000 + b"\r\n", b""),
    (b"Transfer-Encoding: chunked", b"ffff\r\n" + b"x" * 50_000, b""),
    (b"Transfer-Encoding: chunked", b"c350\r\n" + b"x" * 50_000 + b"\r\n", b"nonsense\r\n"),
], ids=["length", "between-chunks", "in-a-chunk", "no-chunk"])
def test_an_answer_that_breaks_off_is_cut_short(gateway, proxy, head, body, last, end):
    def play(connection):
        break_off(head, body)(connection)
        time.sleep(0.2)  # so that the client's answer has begun
        connection.sendall(last)
        return end(connection) if end else False

    gateway.script(play)
    with send(proxy) as client:
        with pytest.raises((http1.Broken, ConnectionError)):
            client.read_response()
    assert proxy.get(TARGET).status == 200
    assert proxy.metrics().value(CANCELLED) == 0


def test_an_answer_that_breaks_off_at_once_is_cut_or_502(gateway, proxy):
    """Nothing has been said to the client yet, so it may still be told."""
    gateway.script(break_off(b"Content-Length: 100", b"only this"))
    with send(proxy) as client:
        try:
            assert client.read_response().status == 502
        except http1.Broken:
            pass


def test_a_gateway_silent_in_mid_answer_is_cut_after_the_timeout(gateway, start_proxy):
    proxy = start_proxy(gateway, "--reads.timeout=300ms")
    play = begin(chunked=True)
    gateway.script(play)
    with send(proxy) as client:
        with pytest.raises((http1.Broken, ConnectionError)):
            client.read_response()
    until(lambda: play.ended, "the gateway sees the end")


# The proxy's own end.

def test_a_stream_is_finished_within_the_grace_period(gateway, proxy):
    gateway.script(slowly(30, 0.03))
    with send(proxy) as client:
        client.socket.recv(1, socket.MSG_PEEK)
        proxy.send_signal(signal.SIGTERM)
        assert client.read_response().body == b"x" * 30_000
        assert proxy.wait() == 0


def slowly(count, pause_s):
    def play(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(count):
            connection.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
            time.sleep(pause_s)
        connection.sendall(b"0\r\n\r\n")
        return True

    return play


@CHUNKED
def test_a_short_grace_period_cuts_a_stream_visibly(gateway, start_proxy, chunked):
    proxy = start_proxy(gateway, "--http-grace-period=300ms")
    gateway.script(begin(chunked=chunked))
    with send(proxy) as client:
        client.socket.recv(1, socket.MSG_PEEK)
        start_s = time.monotonic()
        assert proxy.stop(timeout_s=10) == 0
        assert 0.2 < time.monotonic() - start_s < 4
        with pytest.raises((http1.Broken, ConnectionError)):
            client.read_response()


def test_the_end_of_the_grace_period_tells_those_that_wait(gateway, start_proxy):
    """One at the gateway, one queued: both hear that the proxy stops, in the API's own form."""
    proxy = start_proxy(gateway, "--http-grace-period=300ms", "--reads.max-inflight=1")
    gateway.script(silence(), silence())
    with send(proxy) as asked:
        gateway.wait_posts(1)
        with send(proxy) as queued:
            time.sleep(0.1)
            assert proxy.stop(timeout_s=10) == 0
            for client in (asked, queued):
                answer = client.read_response()
                assert answer.status == 503
                assert b'"status":"error"' in answer.body


def test_a_slow_answer_does_not_hold_up_others(gateway, start_proxy):
    """A slot is held for as long as the gateway streams, and free again after it."""
    proxy = start_proxy(gateway, "--reads.max-inflight=1")
    gateway.script(slowly(10, 0.03))
    with send(proxy) as first, send(proxy) as second:
        later = in_background(second.read_response)
        assert first.read_response().body == b"x" * 10_000
        assert later.result(20).status == 200
    assert in_flight(proxy) == 0


def test_small_answers_after_a_delay(gateway, proxy):
    gateway.on_post = lambda post: delayed(stream(300), 0.02)
    with proxy.client() as client:
        for _ in range(20):
            assert len(client.request("GET", TARGET).body) == 300
