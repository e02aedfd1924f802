"""No request target, whatever it is made of, reaches the gateway outside of the tenant's prefix:
below it are the tenant's own data, beside it everybody's."""

import re
from pathlib import Path

import pytest

from harness import http1, wire
from harness.proxy import TENANT

_LIST = Path(__file__).parent / "data" / "escapes.txt"
_BYTES = {"\\": b"\\", "r": b"\r", "n": b"\n", "t": b"\t"}

# What may follow the prefix, up to the query.
ROUTES = re.compile(
    r"/api/v1/(query|query_range|series|labels|query_exemplars|format_query|parse_query|rules|"
    r"alerts|metadata|targets|targets/metadata|status/buildinfo|otlp|otlp/v1/metrics|receive|"
    r"label/[A-Za-z0-9_:]+/values)")


def unescape(text):
    """The bytes of a target as the list writes it."""
    out = b""
    for part in re.findall(r"\\x[0-9a-f]{2}|\\.|[^\\]+", text):
        if part.startswith("\\x"):
            out += bytes([int(part[2:], 16)])
        else:
            out += _BYTES[part[1]] if part[0] == "\\" else part.encode()
    return out


def read_list():
    lines = _LIST.read_text().split("\n")
    entries = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(kind, unescape(target.lstrip(" "))) for kind, _, target in entries]


ESCAPES = read_list()


def test_the_list_is_long():
    assert len(ESCAPES) >= 200
    assert len({target for _, target in ESCAPES}) == len(ESCAPES)
    assert {kind for kind, _ in ESCAPES} == {"refused", "inside"}


def ask(proxy, method, target):
    """The status, or None where the proxy says nothing and closes."""
    with proxy.client() as client:
        client.send(method + b" " + target + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        try:
            return client.read_response(method.decode()).status
        except (http1.Broken, ConnectionError):
            return None


def assert_inside(gateway):
    for post in gateway.posts:
        path = post.target.partition("?")[0]
        assert path.startswith(f"/{TENANT}/"), post.target
        assert ROUTES.fullmatch(path[len(f"/{TENANT}"):]), post.target
        assert re.fullmatch(r"[!-~]*", post.target) and "#" not in post.target, post.target
        assert post.headers.get("WHIZARD-TENANT") == TENANT
        assert "X-Scope-OrgID" not in post.headers


@pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD"], ids=lambda method: method.decode())
def test_no_target_leaves_the_prefix(gateway, proxy, method):
    for kind, target in ESCAPES:
        before = len(gateway.posts)
        status = ask(proxy, method, target)
        assert_inside(gateway)
        if kind == "refused":
            assert status in (400, 404, 405, None), target
            assert len(gateway.posts) == before, target
        else:
            assert status in (200, 400, 404, 405, None), target
    assert proxy.get("/api/v1/query?query=up").status == 200
    assert proxy.write(wire.body(wire.series("up", 1.0))).status == 204


@pytest.mark.parametrize("method", [b"CONNECT", b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"PATCH",
                                    b"get", b"PRI", b"Q"], ids=lambda method: method.decode())
def test_no_other_method_goes_on(gateway, proxy, method):
    for target in (b"/api/v1/query", b"evil.example:443", b"*", b"http://evil.example/api/v1/query",
                   b"/api/v1/../query"):
        assert ask(proxy, method, target) in (400, 404, 405, 501, None), target
    assert gateway.posts == []


@pytest.mark.parametrize("tail", [b"%2e%2e", b"/../..", b";", b"\\", b"%00", b"//"])
def test_long_targets_are_no_way_round(gateway, proxy, tail):
    """Long enough for every buffer that a target passes through."""
    for size in (150, 250, 8_000, 16_000, 33_000, 63_000, 70_000):
        target = b"/api/v1/query" + b"/a" * (size // 2) + tail
        assert ask(proxy, b"GET", target) in (400, 404, 414, 431, None)
        in_query = ask(proxy, b"GET", b"/api/v1/query?a=" + b"b" * size + b"/../../")
        assert in_query in (200, 400, 414, 431, None)
    assert_inside(gateway)
    assert proxy.get("/api/v1/query?query=up").status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "a/../b", "a, b", ""])
def test_the_host_of_a_request_leads_nowhere(gateway, proxy, host):
    with proxy.client() as client:
        status = client.request("GET", "/api/v1/query?query=up", {"Host": host}).status
    assert status in (200, 400)
    assert all(post.headers.get("Host") == gateway.host for post in gateway.posts)
    assert_inside(gateway)


@pytest.mark.parametrize("form", [
    b"match[]=up&../../x", b"/../..", b"?", b"#/../..", b"a=b HTTP/1.1\r\nX-Scope-OrgID: other\r\n",
    b"a=b\r\n\r\nGET /api/v1/query HTTP/1.1\r\n\r\n", b"a=b\x00c", b" ", b"\xff"])
def test_a_form_that_becomes_an_address_stays_in_it(gateway, proxy, form):
    with proxy.client() as client:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert client.request("POST", "/api/v1/series", headers, form).status == 200
    assert len(gateway.posts) == 1
    assert_inside(gateway)
