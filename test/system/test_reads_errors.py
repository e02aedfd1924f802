"""What the proxy says to a query by itself, in the form of Prometheus' API, and what it leaves as
the gateway says it; how many queries it has at the gateway; what it counts."""

import json
import threading
import time

import pytest

from harness import wire
from harness.gateway import answer, close, delayed, raw, reset
from harness.ports import Port
from harness.reads import (FORM, begin, break_off, form, in_flight, read_count, silence, stream,
                           wait_in_flight)
from harness.waiting import in_background, results, until

TARGET = "/api/v1/query?query=up"
GETS = ["query", "query_range", "series", "labels", "label/job/values", "query_exemplars",
        "format_query", "parse_query", "rules", "alerts", "metadata", "targets", "targets/metadata",
        "status/buildinfo"]
POSTS = ["query", "query_range", "series", "labels", "query_exemplars", "format_query",
         "parse_query", "otlp", "otlp/v1/metrics"]


def assert_api_error(response, status, kind=None):
    """An error that client libraries can read."""
    assert response.status == status, response.text
    assert response.headers.get("Content-Type") == "application/json"
    error = json.loads(response.body)
    assert set(error) == {"status", "errorType", "error"}
    assert error["status"] == "error" and error["error"]
    assert kind is None or error["errorType"] == kind
    assert (status == 503) == ("Retry-After" in response.headers)


# Routes and methods.

@pytest.mark.parametrize("method, paths", [("GET", GETS), ("HEAD", GETS), ("POST", POSTS)])
def test_each_route_goes_on(gateway, proxy, method, paths):
    for path in paths:
        body = b"query=up" if method == "POST" else None
        with proxy.client() as client:
            assert client.request(method, f"/api/v1/{path}?a=b", {}, body).status == 200
        post = gateway.posts[-1]
        assert (post.method, post.target) == (method, f"/member-1/api/v1/{path}?a=b")


@pytest.mark.parametrize("method, paths, allow", [
    ("PUT", POSTS[:-2], "GET, HEAD, POST"), ("DELETE", sorted(set(GETS) - set(POSTS)), "GET, HEAD"),
    ("POST", sorted(set(GETS) - set(POSTS)), "GET, HEAD"), ("GET", POSTS[-2:], "POST")])
def test_other_methods_are_405_with_allow(gateway, proxy, method, paths, allow):
    for path in paths:
        response = proxy.get(f"/api/v1/{path}", method)
        assert (response.status, response.headers.get("Allow")) == (405, allow), path
    assert gateway.posts == []


@pytest.mark.parametrize("path", ["admin/tsdb/delete_series", "admin/tsdb/snapshot", "admin",
                                  "status/config", "read", "unknown", "label/job/value"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_all_else_is_404(gateway, proxy, method, path):
    assert proxy.get(f"/api/v1/{path}", method).status == 404
    assert gateway.posts == []


def test_head_has_the_head_of_a_get(gateway, proxy):
    """From the gateway, from the proxy, and with the connection in order afterwards."""
    gateway.script(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-Kept: 1\r\n\r\n", keep=True),
                   close, close)
    with proxy.client() as client:
        first, second, last = [client.request("HEAD", TARGET) for _ in range(3)]
    assert (first.status, first.headers.get("Content-Length"), first.headers.get("X-Kept")) == \
        (200, "12345", "1")
    assert (second.status, second.body) == (502, b"")
    assert last.status == 200
    wait_in_flight(proxy, 0)


def test_head_of_a_chunked_answer_has_no_body(gateway, proxy):
    """Not a byte follows the head: it would be taken for the next answer."""
    gateway.script(raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", keep=True))
    with proxy.client() as client:
        response = client.request("HEAD", TARGET)
        assert (response.status, response.headers.get("Content-Length")) == (200, None)
        if response.headers.get("Connection") == "close":
            assert client.closed_by_peer()
        else:
            assert client.request("GET", TARGET).status == 200


# What the gateway says is its own.

@pytest.mark.parametrize("status", [201, 204, 400, 401, 403, 404, 405, 408, 413, 422, 429, 500,
                                    501, 502, 503, 504])
def test_the_gateways_status_is_passed_on(gateway, proxy, status):
    body = b"" if status == 204 else b'{"status":"error","errorType":"x","error":"y"}'
    gateway.script(answer(status, body, Content_Type="application/json", Retry_After=9))
    response = proxy.get(TARGET)
    assert (response.status, response.body) == (status, body)
    assert response.headers.get("Retry-After") == "9"


def test_an_interim_answer_is_passed_over(gateway, proxy):
    gateway.script(raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                       b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", keep=True))
    response = proxy.get(TARGET)
    assert (response.status, response.body) == (200, b"body")
    assert "Link" not in response.headers


# What the proxy says.

def test_a_gateway_that_refuses_connections_is_502(start_proxy):
    with Port() as port:
        proxy = start_proxy(f"http://127.0.0.1:{port.number}")
        assert_api_error(proxy.get(TARGET), 502)


@pytest.mark.parametrize("play", [
    close, reset, raw(b"nonsense\r\n\r\n"), raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc"),
    raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc"),
    break_off(b"Transfer-Encoding: chunked", b"nonsense\r\n"),
    raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
], ids=["close", "reset", "nonsense", "half-head", "length", "negative", "no-chunk", "switching"])
def test_a_gateway_that_breaks_before_a_head_is_502(gateway, proxy, play):
    """Also once it has gone with its connection: curl asks again by itself, once."""
    gateway.script(play, play)
    assert_api_error(proxy.get(TARGET), 502)
    gateway._script.clear()
    assert proxy.get(TARGET).status == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_502_and_not_followed(gateway, proxy, status):
    gateway.script(answer(status, b"there", Location=f"{gateway.url}/other/api/v1/query"))
    assert_api_error(proxy.get(TARGET), 502)
    assert len(gateway.posts) == 1


def test_a_gateway_that_is_silent_is_504(gateway, start_proxy):
    proxy = start_proxy(gateway, "--reads.timeout=300ms")
    play = silence()
    gateway.script(play)
    start_s = time.monotonic()
    assert_api_error(proxy.get(TARGET), 504, "timeout")
    assert 0.25 < time.monotonic() - start_s < 5
    until(lambda: play.ended, "the gateway sees the end")


def test_a_query_that_waits_too_long_for_a_slot_is_503(gateway, start_proxy):
    """While an answer streams and so keeps its slot."""
    proxy = start_proxy(gateway, "--reads.timeout=500ms", "--reads.max-inflight=1")
    done = threading.Event()

    def play(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not done.wait(0.05):
            connection.sendall(b"1\r\nx\r\n")
        connection.sendall(b"0\r\n\r\n")
        return True

    gateway.script(play)
    streaming = in_background(proxy.get, TARGET)
    gateway.wait_posts(1)
    assert_api_error(proxy.get(TARGET), 503)
    done.set()
    assert streaming.result(20).status == 200


@pytest.mark.parametrize("target, body", [
    ("/api/v1/query?query=a#b", None), ("/api/v1/query?query=\x01", None),
    ("/api/v1/query?query=\x7f", None), ("/api/v1/query?query=\xe9", "x=y")])
def test_bytes_that_no_query_has_are_400(gateway, proxy, target, body):
    with proxy.client() as client:
        method = "POST" if body else "GET"
        assert_api_error(client.request(method, target, FORM, (body or "").encode()), 400)
    assert gateway.posts == []


def test_a_bad_path_of_the_api_is_400_in_its_form(proxy):
    assert_api_error(proxy.get("/api/v1/../query"), 400)


def test_a_form_over_10_mib_is_413(gateway, proxy):
    most = 10 << 20
    for size, chunk_bytes, status in ((most, None, 200), (most, 65536, 200),
                                      (most + 1, None, 413), (most + 1, 65536, 413)):
        with proxy.client() as client:
            response = client.request("POST", "/api/v1/query", FORM, b"q" * size, chunk_bytes)
        if status == 200:
            assert response.status == 200
            assert len(gateway.posts[-1].body) == size
        else:
            assert_api_error(response, 413)
    assert len(gateway.posts) == 2


def test_forms_over_the_memory_budget_are_503(gateway, start_proxy):
    """Declared or not; and what is given back can be used again."""
    proxy = start_proxy(gateway, "--limits.memory-bytes=8MiB")
    for _ in range(2):
        for chunk_bytes in (None, 65536):
            with proxy.client() as client:
                assert_api_error(client.request("POST", "/api/v1/query", FORM, b"q" * (9 << 20),
                                                chunk_bytes), 503)
        with proxy.client() as client:
            assert client.request("POST", "/api/v1/query", FORM, b"q" * (5 << 20)).status == 200
    rejected = proxy.metrics().value("agent_proxy_requests_rejected_total", reason="memory_budget")
    assert rejected == 4


def test_more_that_wait_than_the_bound_are_503(gateway, start_proxy):
    proxy = start_proxy(gateway, "--reads.max-inflight=1")
    with gateway.holding():
        clients = [proxy.client() for _ in range(1 + 512)]
        for client in clients:
            client.send_request("GET", TARGET)
        gateway.wait_posts(1)
        until(lambda: proxy.metrics().value("agent_proxy_connections") >= len(clients), "all came")
        assert_api_error(proxy.get(TARGET), 503)
    for client in clients:
        assert client.read_response().status == 200
        client.close()


# Slots.

def test_a_page_of_queries_through_two_slots(gateway, start_proxy):
    """54 at once: all are answered, and never more than two are at the gateway."""
    proxy = start_proxy(gateway, "--reads.max-inflight=2")
    lock = threading.Lock()
    now, most = 0, 0

    def play(connection):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return answer(200, b"body")(connection)

    gateway.on_post = lambda post: play

    def ask(number):
        with proxy.client() as client:
            return client.request("POST", "/api/v1/query", FORM, form(("query", number)).encode())

    answers = results([in_background(ask, number) for number in range(54)])
    assert {response.status for response in answers} == {200}
    assert most == 2
    assert sorted(post.body for post in gateway.posts) == sorted(
        b"query=%d" % number for number in range(54))


def test_queries_wait_in_order(gateway, start_proxy):
    proxy = start_proxy(gateway, "--reads.max-inflight=1")
    clients = []
    with gateway.holding():
        for number in range(10):
            clients.append(proxy.client())
            clients[-1].send_request("GET", f"{TARGET}&n={number}")
            gateway.wait_posts(1)
            proxy.metrics()  # a turn of the worker later
    for client in clients:
        assert client.read_response().status == 200
        client.close()
    assert [post.target[-1] for post in gateway.posts] == list("0123456789")


def test_writes_flow_while_every_read_slot_is_taken(gateway, start_proxy):
    """By queries that the gateway does not answer, and by answers that nobody takes."""
    proxy = start_proxy(gateway, "--reads.max-inflight=4")
    gateway.script(silence(), silence(), stream(1 << 30), stream(1 << 30))
    clients = []
    for number in range(8):
        clients.append(proxy.client())
        clients[-1].send_request("GET", TARGET)
    gateway.wait_posts(4)
    for _ in range(20):
        start_s = time.monotonic()
        assert proxy.write(wire.body(wire.series("up", 1.0))).status == 204
        assert time.monotonic() - start_s < 1
    assert sum(post.target == "/member-1/api/v1/receive" for post in gateway.posts) == 20
    assert in_flight(proxy) == 4
    for client in clients:
        client.close()
    wait_in_flight(proxy, 0)


# Numbers.

def test_reads_are_counted_by_route_and_status(gateway, proxy):
    gateway.script(answer(200), answer(422), answer(503), answer(200), close, close)
    for _ in range(3):
        proxy.get(TARGET)
    proxy.get("/api/v1/label/job/values")
    proxy.get("/api/v1/rules")
    count = proxy.metrics().value
    name = "agent_proxy_read_requests_total"
    for route, expected in (("query", [1, 1, 1]), ("label_values", [1, 0, 0]), ("rules", [0, 0, 1]),
                            ("series", [0, 0, 0])):
        assert [count(name, route=route, status=status)
                for status in ("2xx", "4xx", "5xx")] == expected, route


def test_every_route_has_its_own_number(gateway, proxy):
    for path in GETS:
        proxy.get(f"/api/v1/{path}")
    with proxy.client() as client:
        client.request("POST", "/api/v1/otlp", {}, b"x")
    names = [path.replace("/", "_") for path in GETS] + ["otlp"]
    names[names.index("label_job_values")] = "label_values"
    names[names.index("status_buildinfo")] = "buildinfo"
    for route in names:
        assert read_count(proxy, route=route, status="2xx") == 1, route
    assert read_count(proxy) == len(names)


def test_latencies_and_bytes_are_counted(gateway, proxy):
    gateway.script(delayed(answer(200, b"x" * 1000), 0.1), delayed(stream(2000, chunked=True), 0.1),
                   close)
    for _ in range(3):
        proxy.get(TARGET)
    count = proxy.metrics().value
    assert count("agent_proxy_read_answer_bytes_total") == 3000
    for name in ("first_byte", "request"):
        name = f"agent_proxy_read_{name}_duration_seconds"
        assert count(name + "_count") == 3
        assert 0.2 < count(name + "_sum") < 20


def test_reads_at_the_gateway_are_a_gauge(gateway, proxy):
    gateway.script(silence(), begin(), begin())
    clients = []
    for number in range(3):
        clients.append(proxy.client())
        clients[-1].send_request("GET", TARGET)
    wait_in_flight(proxy, 3)
    for client in clients:
        client.close()
    wait_in_flight(proxy, 0)
    assert proxy.metrics().value("agent_proxy_read_requests_cancelled_total") == 3
