"""One write, from the sender to the gateway and back: where it goes and what it carries."""

import pytest

from harness import wire
from harness.proxy import TENANT

REQUEST_HEADERS = {"Host", "Content-Length", "Content-Type", "Content-Encoding", "User-Agent",
                   "X-Prometheus-Remote-Write-Version", "WHIZARD-TENANT", "Accept"}


@pytest.fixture
def body():
    return wire.body(wire.series("up", 1.0, 0.0, job="node"), wire.series("load", 0.25))


@pytest.mark.parametrize("path", ["/api/v1/receive", "/api/v1/write"])
def test_a_write_reaches_the_gateway_and_is_acknowledged(gateway, proxy, body, path):
    response = proxy.write(body, path=path)

    assert (response.status, response.body) == (204, b"")
    assert not [name for name, _ in response.headers if name.lower().endswith("-written")]
    (post,) = gateway.posts
    assert (post.method, post.target) == ("POST", f"/{TENANT}/api/v1/receive")
    assert post.decoded == wire.write_request(*post.request.timeseries)
    assert wire.names(post.request) == ["up", "load"]
    assert post.headers.get("Host") == gateway.host
    assert post.headers.get("Content-Type") == "application/x-protobuf"
    assert post.headers.get("Content-Encoding") == "snappy"
    assert post.headers.get("X-Prometheus-Remote-Write-Version") == "0.1.0"
    assert post.headers.get("WHIZARD-TENANT") == TENANT
    assert post.headers.get("User-Agent").startswith("agent-proxy")
    assert post.headers.get("Content-Length") == str(len(post.body))


def test_nothing_else_of_the_senders_headers_goes_on(gateway, proxy, body):
    proxy.write(body, X_Custom="1", Cookie="a=b", Referer="http://there/", Retry_Attempt="3")

    (post,) = gateway.posts
    assert {name for name, _ in post.headers} <= REQUEST_HEADERS


def test_a_large_body_is_sent_without_waiting_for_100_continue(gateway, start_proxy):
    proxy = start_proxy(gateway, "--limits.memory-bytes=268435456")
    large = wire.literal_block(wire.write_request(
        *(wire.series(f"metric_{n}", 1.0, note="x" * 500) for n in range(8000))))

    assert proxy.write(large).status == 204
    (post,) = gateway.posts
    assert "Expect" not in post.headers
    assert len(post.request.timeseries) == 8000


@pytest.mark.parametrize("spoofed", ["WHIZARD-TENANT", "whizard-tenant", "THANOS-TENANT",
                                     "X-Scope-OrgID", "Forwarded", "X-Forwarded-For",
                                     "X-Forwarded-Host"])
def test_a_sender_cannot_speak_for_another_tenant(gateway, proxy, body, spoofed):
    response = proxy.write(body, **{spoofed: "somebody-else"})

    assert response.status == 204
    (post,) = gateway.posts
    assert "somebody-else" not in [value for _, value in post.headers]
    assert post.headers.get("WHIZARD-TENANT") == TENANT


@pytest.mark.parametrize("base, flags, target", [
    ("/base", [], "/base/member-1/api/v1/receive"),
    ("/base/", [], "/base/member-1/api/v1/receive"),
    ("/", [], "/member-1/api/v1/receive"),
    ("", ["--tenant.path-prefix=false"], "/api/v1/receive"),
    ("", ["--no-tenant.path-prefix"], "/api/v1/receive"),
    ("", ["--tenant.path-prefix"], "/member-1/api/v1/receive"),
    ("", ["--gateway.write-path=/api/v1/push"], "/member-1/api/v1/push"),
    ("/a/b", ["--tenant.path-prefix=false", "--gateway.write-path=/w"], "/a/b/w"),
])
def test_where_a_write_goes_is_configured(gateway, start_proxy, body, base, flags, target):
    proxy = start_proxy(gateway.url + base, *flags)

    assert proxy.write(body).status == 204
    assert [post.target for post in gateway.posts] == [target]
    assert gateway.posts[0].headers.get("WHIZARD-TENANT") == TENANT


def test_the_tenants_header_is_configured(gateway, start_proxy, body):
    proxy = start_proxy(gateway, "--tenant.header=X-Scope-OrgID", tenant="east_2.b")

    assert proxy.write(body, WHIZARD_TENANT="other", X_Scope_OrgID="other").status == 204
    (post,) = gateway.posts
    assert post.headers.get("X-Scope-OrgID") == "east_2.b"
    assert "WHIZARD-TENANT" not in post.headers
    assert post.target == "/east_2.b/api/v1/receive"


@pytest.mark.parametrize("content_type", [
    "application/x-protobuf", "application/x-protobuf;proto=prometheus.WriteRequest",
    "application/x-protobuf; proto=prometheus.WriteRequest", "Application/X-Protobuf"])
def test_the_forms_of_the_content_type(gateway, proxy, body, content_type):
    assert proxy.write(body, Content_Type=content_type).status == 204
    assert gateway.posts[0].headers.get("Content-Type") == "application/x-protobuf"


def test_a_sender_may_leave_the_version_out(gateway, proxy, body):
    assert proxy.write(body, X_Prometheus_Remote_Write_Version=None).status == 204
    assert gateway.posts[0].headers.get("X-Prometheus-Remote-Write-Version") == "0.1.0"


def test_an_empty_write_is_a_write(gateway, proxy):
    assert proxy.write(b"\0").status == 204
    assert [post.decoded for post in gateway.posts] == [b""]


def test_the_proxy_does_not_use_a_proxy_of_its_environment(gateway, start_proxy, body, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert start_proxy(gateway).write(body).status == 204
