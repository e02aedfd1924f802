"""Which headers pass, both ways: an allow list towards the gateway, which trusts what we send; all
but those of the connection towards the client."""

import pytest

from harness import http1
from harness.gateway import answer, raw
from harness.proxy import TENANT
from harness.reads import FORM

TARGET = "/api/v1/query?query=up"
PASSED_UP = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, br",
    "Content-Type": "application/x-www-form-urlencoded",
    "Content-Encoding": "identity",
    "User-Agent": "Grafana/9.5",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
KEPT_BACK = {
    "X-Scope-OrgID": "other", "X-Scope-Anything": "x", "WHIZARD-TENANT": "other",
    "whizard-tenant": "other", "THANOS-TENANT": "other", "Forwarded": "for=1.2.3.4",
    "X-Forwarded-For": "1.2.3.4", "X-Forwarded-Host": "evil", "X-Forwarded-Prefix": "/x",
    "X-Original-URL": "/api/v1/admin", "X-Rewrite-URL": "/x", "X-Real-IP": "1.2.3.4",
    "Cookie": "session=1", "Via": "1.1 x", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__",
    "TE": "trailers", "Trailer": "X-Y", "Keep-Alive": "timeout=5", "Proxy-Connection": "close",
    "Proxy-Authorization": "Basic eA==", "X-Http-Method-Override": "DELETE", "Range": "bytes=0-1",
    "If-None-Match": "x", "X-Prometheus-Remote-Write-Version": "9", "Authorization": "Bearer x",
    "Expect": "100-continue", "Origin": "http://evil", "Referer": "http://evil",
    "Sec-Anything": "x", "X-WebAuth-User": "admin", "cluster": "other",
}
SET_BY_US = {"Host", "WHIZARD-TENANT", "Content-Length"}


def request(proxy, method="POST", headers=None, body=b"query=up"):
    with proxy.client() as client:
        return client.request(method, TARGET, headers, body if method == "POST" else None)


def test_the_allow_list_passes_as_it_comes(gateway, proxy):
    assert request(proxy, headers={**PASSED_UP, **KEPT_BACK}).status == 200
    post = gateway.posts[0]
    assert {name: post.headers.get(name) for name in PASSED_UP} == PASSED_UP
    assert post.headers.get("Host") == gateway.host
    assert post.headers.get("WHIZARD-TENANT") == TENANT
    assert {name for name, _ in post.headers} == set(PASSED_UP) | SET_BY_US


def test_nothing_is_added_by_libraries(gateway, proxy):
    assert proxy.get(TARGET).status == 200
    assert sorted(gateway.posts[0].headers) == [("Host", gateway.host), ("WHIZARD-TENANT", TENANT)]
    assert request(proxy).status == 200
    assert {name for name, _ in gateway.posts[1].headers} == SET_BY_US


def test_of_the_body_of_a_get_nothing_is_told(gateway, proxy):
    with proxy.client() as client:
        assert client.request("GET", TARGET, PASSED_UP, b"ignored").status == 200
        assert client.request("GET", TARGET).status == 200  # the body was not taken for a request
    post = gateway.posts[0]
    assert post.body == b""
    assert {name for name, _ in post.headers} == \
        {"Host", "WHIZARD-TENANT", "Accept", "Accept-Encoding", "User-Agent", "traceparent"}


@pytest.mark.parametrize("flag, passed", [("--reads.forward-authorization", True),
                                          ("--no-reads.forward-authorization", False)])
def test_authorization_passes_by_a_flag_only(gateway, start_proxy, flag, passed):
    proxy = start_proxy(gateway, flag)
    assert request(proxy, headers={"Authorization": "Bearer a.b-c"}).status == 200
    assert gateway.posts[0].headers.get("Authorization") == ("Bearer a.b-c" if passed else None)


def test_the_tenant_header_has_the_name_of_the_flag(gateway, start_proxy):
    proxy = start_proxy(gateway, "--tenant.header=X-Scope-OrgID")
    spoofed = {"X-Scope-OrgID": "other", "x-scope-orgid": "other"}
    assert request(proxy, headers=spoofed).status == 200
    assert gateway.posts[0].headers.all("X-Scope-OrgID") == [TENANT]
    assert "WHIZARD-TENANT" not in gateway.posts[0].headers


def test_what_connection_lists_is_of_the_connection(gateway, proxy):
    listed = {"Connection": "keep-alive, traceparent , USER-AGENT", **PASSED_UP}
    assert request(proxy, headers=listed).status == 200
    names = {name for name, _ in gateway.posts[0].headers}
    assert names == (set(PASSED_UP) | SET_BY_US) - {"traceparent", "User-Agent"}


@pytest.mark.parametrize("listed", ["WHIZARD-TENANT", "Host", "Content-Length", "tenant"])
def test_what_we_set_cannot_be_listed_away(gateway, proxy, listed):
    assert request(proxy, headers={"Connection": listed, **FORM}).status == 200
    post = gateway.posts[0]
    assert post.headers.get("WHIZARD-TENANT") == TENANT
    assert post.headers.get("Host") == gateway.host
    assert post.body == b"query=up"


def test_the_answer_comes_with_its_headers(gateway, proxy):
    fields = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Vary": "Origin",
              "Cache-Control": "no-store", "Access-Control-Allow-Origin": "*", "ETag": '"x"',
              "X-Anything": "a; b=\"c\"", "Server": "whizard", "Warning": "199 - x"}
    gateway.script(answer(200, b"not really gzip", **{k.replace("-", "_"): v
                                                      for k, v in fields.items()}))
    response = request(proxy, headers=FORM)
    assert response.body == b"not really gzip"
    assert {name: response.headers.get(name) for name in fields} == fields
    assert {name for name, _ in response.headers} == set(fields) | {"Content-Length", "Date"}


def test_two_of_a_header_stay_two(gateway, proxy):
    gateway.script(raw(b"HTTP/1.1 200 OK\r\nVary: a\r\nVary: b\r\nContent-Length: 0\r\n\r\n", True))
    assert request(proxy).headers.all("Vary") == ["a", "b"]


@pytest.mark.parametrize("framing", [b"Content-Length: 4\r\n\r\nbody",
                                     b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"])
def test_headers_of_the_gateways_connection_stay_there(gateway, proxy, framing):
    gateway.script(raw(
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Listed\r\nX-Listed: 1\r\n"
        b"Keep-Alive: timeout=1\r\n"
        b"Proxy-Authenticate: Basic\r\nProxy-Connection: x\r\nTrailer: X\r\nUpgrade: h2c\r\n"
        b"TE: x\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Kept: 1\r\n" + framing))
    with proxy.client() as client:
        response = client.request("GET", TARGET)
        names = {name for name, _ in response.headers} - {"Content-Length", "Transfer-Encoding"}
        assert (names, response.body) == ({"X-Kept", "Date"}, b"body")
        assert response.headers.get("Date") != "Thu, 01 Jan 1970 00:00:00 GMT"
        assert client.request("GET", TARGET).status == 200  # ours goes on


@pytest.mark.parametrize("line", [b"X-Empty:", b"X-Tab: a\tb", b"X-Blank:    ", b"X-Latin: \xe9",
                                  b"X-Long: " + b"x" * 7000])
def test_unusual_headers_of_an_answer_do_no_harm(gateway, proxy, line):
    gateway.script(raw(b"HTTP/1.1 200 OK\r\n" + line + b"\r\nX-Kept: 1\r\nContent-Length: 4\r\n\r\n"
                       b"body", keep=True))
    response = request(proxy)
    assert (response.status, response.body, response.headers.get("X-Kept")) == (200, b"body", "1")


@pytest.mark.parametrize("lines", [
    b"X: y\r\n" * 400,
    b"".join(b"X-%d: %s\r\n" % (n, b"y" * 100) for n in range(300)),
    b"X-Large: " + b"y" * 60_000 + b"\r\n",
    b"X-Larger: " + b"y" * 400_000 + b"\r\n",
], ids=["repeated", "many", "60KB", "400KB"])
def test_large_heads_of_answers_are_bounded(gateway, proxy, lines):
    """Relayed, in part, or 502: never a proxy that stops."""
    gateway.script(raw(b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 4\r\n\r\nbody"))
    try:
        response = request(proxy)
        assert (response.status, response.body) == (200, b"body") or response.status == 502
    except (http1.Broken, ConnectionError):
        pass
    assert request(proxy).status == 200


@pytest.mark.parametrize("fields", [
    {f"X-{n}": "y" * 100 for n in range(300)},
    {"X-Large": "y" * 30_000},
    {"Accept": "y" * 30_000},
    {"User-Agent": "y" * 40_000},
    {"Cookie": "y" * 200_000},
], ids=["many", "30KB", "30KB-allowed", "40KB-allowed", "200KB"])
def test_large_heads_of_requests_are_bounded(gateway, proxy, fields):
    """Relayed without what does not pass, or refused as the client's own fault."""
    try:
        assert request(proxy, headers=fields).status in (200, 400, 413, 431)
    except (http1.Broken, ConnectionError):
        pass
    for post in gateway.posts:
        assert sum(len(name) + len(value) for name, value in post.headers) < 34_000
        assert not any(name.startswith("X-") for name, _ in post.headers)
    assert request(proxy).status == 200


@pytest.mark.parametrize("lines", [
    b"Connection: " + b", ".join(b"x%d" % n for n in range(2000)) + b"\r\n",
    b"Connection: x\r\n" * 100,
    b"Accept: x\r\n" * 200,
], ids=["long", "many", "repeated"])
def test_lists_that_would_keep_us_busy_are_refused(gateway, proxy, lines):
    with proxy.client() as client:
        client.send(b"GET " + TARGET.encode() + b" HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
        response = client.read_response()
        assert response.status == 400
    assert gateway.posts == []
