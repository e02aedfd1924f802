"""The end: in order, whatever is under way."""

import signal
import time

import pytest

from harness import http1, wire
from harness.client import WRITE_HEADERS, WRITE_PATH
from harness.gateway import hang
from harness.process import run
from harness.proxy import BINARY
from harness.waiting import in_background, results, until

SIGNALS = [signal.SIGTERM, signal.SIGINT]


def body_of(name):
    return wire.body(wire.series(name, 1.0))


def refuses_connections(proxy):
    try:
        proxy.client().close()
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_an_idle_proxy_ends_at_once(proxy, number):
    with proxy.client() as idle:
        assert idle.request("GET", "/-/healthy").status == 200
        start_s = time.monotonic()
        assert proxy.stop(number) == 0
        assert time.monotonic() - start_s < 5
        assert idle.closed_by_peer()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_what_is_under_way_is_finished(gateway, start_proxy, number):
    """One write is at the gateway, two are queued behind it: all are stored and acknowledged."""
    proxy = start_proxy(gateway, "--gateway.max-inflight=1")
    with gateway.holding():
        writers = []
        for name in ("first", "second", "third"):
            writers.append(in_background(proxy.write, body_of(name)))
            proxy.wait_waiting(len(writers))
        proxy.send_signal(number)
        until(lambda: refuses_connections(proxy), "the listener closes")
        assert proxy.running()
        assert not any(writer.done() for writer in writers)

    assert [response.status for response in results(writers)] == [204] * 3
    assert proxy.wait() == 0
    stored = [name for post in gateway.posts for name in wire.names(post.request)]
    assert stored == ["first", "second", "third"]


def test_ready_is_503_while_stopping(gateway, proxy):
    """Asked on a connection from before: the listener itself is closed by then."""
    with gateway.holding(), proxy.client() as before:
        writer = in_background(proxy.write, body_of("up"))
        gateway.wait_posts(1)
        assert before.request("GET", "/-/ready").status == 200
        proxy.send_signal(signal.SIGTERM)
        until(lambda: refuses_connections(proxy), "the listener closes")
        response = before.request("GET", "/-/ready")
        assert response.status == 503
        assert response.headers.get("Connection") == "close"
    assert writer.result(20).status == 204
    assert proxy.wait() == 0


def test_a_new_write_on_an_old_connection_while_stopping_is_answered(gateway, proxy):
    """Stored and acknowledged, or to be sent again: never cut off, never in between."""
    before = proxy.client()
    assert before.request("GET", "/-/ready").status == 200
    with gateway.holding():
        writer = in_background(proxy.write, body_of("up"))
        gateway.wait_posts(1)
        proxy.send_signal(signal.SIGTERM)
        until(lambda: refuses_connections(proxy), "the listener closes")
        late = in_background(before.write, body_of("late"))
        until(lambda: late.done() or len(gateway.posts) == 2, "it is refused or sent")

    assert writer.result(20).status == 204
    assert answered_and_kept(late.result(20), "late", gateway)
    assert proxy.wait() == 0
    assert before.closed_by_peer()
    before.close()


def test_a_body_that_is_under_way_is_still_answered(gateway, proxy):
    slow = proxy.client()
    with gateway.holding():
        writer = in_background(proxy.write, body_of("up"))
        gateway.wait_posts(1)
        body = body_of("slow")
        fields = {**WRITE_HEADERS, "Content-Length": str(len(body))}
        slow.send(slow.head("POST", WRITE_PATH, fields) + body[:5])
        until(lambda: proxy.metrics().value("agent_proxy_connections") >= 3, "it has begun")
        proxy.send_signal(signal.SIGTERM)
        until(lambda: refuses_connections(proxy), "the listener closes")
        slow.send(body[5:])

    assert answered_and_kept(slow.read_response("POST"), "slow", gateway)
    assert writer.result(20).status == 204
    assert proxy.wait() == 0
    slow.close()


def answered_and_kept(response, name, gateway):
    """204 for what the gateway has, or 503."""
    stored = [name for post in gateway.posts for name in wire.names(post.request)]
    return response.status == 503 or (response.status == 204 and name in stored)


def test_a_hanging_gateway_does_not_hold_up_the_end(gateway, start_proxy):
    proxy = start_proxy(gateway, "--gateway.max-inflight=1", "--http-grace-period=1s")
    gateway.script(hang)
    writers = []
    for name in ("first", "second", "third"):
        writers.append(in_background(proxy.write, body_of(name)))
        proxy.wait_waiting(len(writers))

    start_s = time.monotonic()
    assert proxy.stop(timeout_s=10) == 0
    assert 0.5 < time.monotonic() - start_s < 5

    for response in results(writers):
        assert response.status == 503
        assert int(response.headers.get("Retry-After")) >= 1


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_second_signal_ends_at_once(gateway, proxy, number):
    with gateway.holding():
        writer = in_background(proxy.write, body_of("up"))
        gateway.wait_posts(1)
        proxy.send_signal(number)
        until(lambda: refuses_connections(proxy), "the first signal is heard")
        assert proxy.running()
        start_s = time.monotonic()
        proxy.send_signal(number)
        proxy.wait(timeout_s=5)
        assert time.monotonic() - start_s < 2
        try:
            assert writer.result(5).status == 503
        except (http1.Broken, ConnectionError):
            pass  # cut off: it was asked for


def test_a_start_that_fails_does_not_wait(as_user):
    """For --shutdown-delay, which is for those who know of it as ready. No limit of threads holds
    for root."""
    start_s = time.monotonic()
    result = run([*as_user, "prlimit", "--nproc=1", "--", BINARY, "--tenant=t", "--workers=4",
                  "--gateway.address=http://127.0.0.1:9", "--http-address=127.0.0.1:0",
                  "--shutdown-delay=10s"])
    assert result.returncode == 1 and "cannot start a thread" in result.stderr, result
    assert time.monotonic() - start_s < 5
