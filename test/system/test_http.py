"""HTTP as senders speak it: chunks, 100-continue, connections that are used again."""

import socket
import time

import pytest

from harness import http1, wire
from harness.client import WRITE_HEADERS, WRITE_PATH


def body_of(number):
    return wire.body(wire.series(f"metric_{number}", float(number)))


def arrived(gateway):
    return [name for post in gateway.posts for name in wire.names(post.request)]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 4096])
def test_a_chunked_body_is_a_body(gateway, proxy, chunk_bytes):
    assert proxy.write(body_of(1), chunk_bytes=chunk_bytes).status == 204

    (post,) = gateway.posts
    assert post.body == body_of(1)
    assert "Transfer-Encoding" not in post.headers


def test_a_large_chunked_body(gateway, start_proxy):
    proxy = start_proxy(gateway, "--limits.memory-bytes=268435456")
    decoded = wire.write_request(
        *(wire.series(f"metric_{n}", 1.0, note="x" * 500) for n in range(8000)))

    assert proxy.write(wire.literal_block(decoded), chunk_bytes=50_000).status == 204
    assert gateway.posts[0].decoded == decoded


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue"])
def test_a_sender_that_asks_first_is_told_to_go_on(gateway, proxy, expect):
    body = body_of(1)
    with proxy.client() as client:
        headers = {**WRITE_HEADERS, "Content-Length": str(len(body)), "Expect": expect}
        client.send(client.head("POST", WRITE_PATH, headers))
        assert client.read_interim() == 100
        client.send(body)
        assert client.read_response("POST").status == 204
    assert gateway.posts[0].body == body


def test_a_connection_is_used_again(gateway, proxy):
    with proxy.client() as client:
        for number in range(20):
            assert client.write(body_of(number)).status == 204
    assert arrived(gateway) == [f"metric_{number}" for number in range(20)]
    assert proxy.metrics().value("agent_proxy_connections_accepted_total") <= 20
    assert {post.connection for post in gateway.posts} == {0}


def test_a_connection_goes_on_after_a_refusal(gateway, proxy):
    with proxy.client() as client:
        assert client.write(b"rubbish").status == 400
        assert client.write(body_of(1), Content_Type="text/plain").status == 415
        assert client.request("GET", WRITE_PATH).status == 405
        assert client.request("GET", "/nowhere").status == 404
        assert client.write(body_of(2)).status == 204
    assert arrived(gateway) == ["metric_2"]


def test_a_sender_may_ask_to_close(gateway, proxy):
    with proxy.client() as client:
        response = client.write(body_of(1), Connection="close")
        assert response.status == 204
        assert client.closed_by_peer()


def test_pipelined_requests_are_answered_each_and_in_order(gateway, proxy):
    with proxy.client() as client:
        for number in range(5):
            client.send_request("POST", WRITE_PATH, WRITE_HEADERS, body_of(number))
        client.send_request("POST", WRITE_PATH, WRITE_HEADERS, b"rubbish")
        client.send_request("GET", "/-/healthy")
        client.send_request("POST", WRITE_PATH, WRITE_HEADERS, body_of(5))
        statuses = [client.read_response().status for _ in range(8)]
    assert statuses == [204] * 5 + [400, 200, 204]
    assert arrived(gateway) == [f"metric_{number}" for number in range(6)]


def test_writes_and_pages_share_a_connection(gateway, proxy):
    with proxy.client() as client:
        assert client.write(body_of(0)).status == 204
        page = client.request("GET", "/metrics")
        assert page.status == 200
        assert b"agent_proxy_connections_accepted_total" in page.body
        assert client.write(body_of(1)).status == 204
        for number in range(2, 5):
            client.send_request("POST", WRITE_PATH, WRITE_HEADERS, body_of(number))
        client.send_request("GET", "/-/healthy")
        client.send_request("POST", WRITE_PATH, WRITE_HEADERS, body_of(5))
        statuses = [client.read_response().status for _ in range(5)]
    assert statuses == [204, 204, 204, 200, 204]
    assert arrived(gateway) == [f"metric_{number}" for number in range(6)]


def test_a_head_may_be_cut_anywhere(gateway, proxy):
    whole, cut_in_two = body_of(0), body_of(1)
    headers = {**WRITE_HEADERS, "Content-Length": str(len(cut_in_two))}
    with proxy.client() as client:
        head = client.head("POST", WRITE_PATH, headers)
    for cut in range(1, len(head) + 1):
        with proxy.client() as client:
            assert client.write(whole).status == 204
            client.send(head[:cut])
            time.sleep(0.002)  # for the first part to be read alone
            client.send(head[cut:] + cut_in_two)
            assert client.read_response("POST").status == 204
            assert client.write(whole).status == 204
    assert arrived(gateway) == ["metric_0", "metric_1", "metric_0"] * len(head)


def test_a_request_may_come_byte_by_byte(gateway, proxy):
    body = body_of(1)
    with proxy.client() as client:
        head = client.head("POST", WRITE_PATH, {**WRITE_HEADERS, "Content-Length": str(len(body))})
        for byte in head + body:
            client.send(bytes([byte]))
        assert client.read_response("POST").status == 204
    assert gateway.posts[0].body == body


def test_a_sender_that_closes_its_side_still_hears_the_answer(gateway, proxy):
    with proxy.client() as client:
        client.send_request("POST", WRITE_PATH, WRITE_HEADERS, body_of(1))
        client.socket.shutdown(1)  # SHUT_WR: no more requests, but an ear for the answer
        try:
            assert client.read_response("POST").status == 204
        except (http1.Broken, ConnectionError):
            pass  # to take it for gone is right as well; what is stored is then sent again
    assert proxy.write(body_of(2)).status == 204
    assert "metric_2" in arrived(gateway)


HEALTH = ("GET", "/-/healthy")
LAST_WORDS = {
    "page": ([HEALTH], [200]),
    "large page": ([("GET", "/")], [200]),
    "two pages": ([HEALTH, HEALTH], [200, 200]),
    "no such path": ([("GET", "/nowhere")], [404]),
    "no such method": ([("GET", WRITE_PATH)], [405]),
    "another type": ([("POST", WRITE_PATH, {**WRITE_HEADERS, "Content-Type": "text/plain"},
                       b"rubbish", 4)], [415]),
    "bad data": ([("POST", WRITE_PATH, WRITE_HEADERS, b"rubbish", 4)], [400]),
}


@pytest.mark.parametrize("requests, statuses", LAST_WORDS.values(), ids=LAST_WORDS)
def test_a_request_and_the_end_in_one_segment(proxy, requests, statuses):
    """As nc -N sends them: the client hears its reply, and at once the end."""
    with proxy.client(5) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        for request in requests:
            client.send_request(*request)
        client.socket.shutdown(socket.SHUT_WR)
        assert [client.read_response().status for _ in statuses] == statuses
        assert client.closed_by_peer()


def test_many_headers_and_a_long_one_are_taken_or_refused(gateway, proxy):
    response = proxy.write(body_of(1), **{f"X-{n}": "y" * 100 for n in range(40)})
    assert response.status == 204
    response = proxy.write(body_of(2), X_Long="y" * 200_000)
    assert response.status in (400, 413, 431)
    assert arrived(gateway) == ["metric_1"]
