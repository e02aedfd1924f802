"""TLS on both sides: who is let in, whom the proxy trusts, and what the log says of the others."""

import base64
import contextlib
import json
import socket
import ssl
import time

import pytest

from harness import http1, wire
from harness.gateway import answer
from harness.peers import Prometheus
from harness.process import run
from harness.proxy import BINARY
from harness.tls import ForwardProxy, TlsClient, client_context, server_context
from harness.waiting import until

TOKEN = "token-that-nobody-may-see"
PASSWORD = "password-that-nobody-may-see"
PASSWORD_HASH = "$2b$04$xG806uUjhhlKoNAPT9zAturf1k3u7ltewU4.TvOPdPbBgDY5wsFeC"  # bcrypt, cheap
SECRETS = [TOKEN, PASSWORD, base64.b64encode(f"proxy:{PASSWORD}".encode()).decode()]

# No target answers, which Prometheus stores as well: a series "up" five times a second.
SENDER = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
- job_name: nobody
  static_configs: [{{targets: ["127.0.0.1:9"]}}]
remote_write:
- url: {url}/api/v1/receive
  tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}
  basic_auth: {{username: sender, password_file: {password}}}
  queue_config: {{batch_send_deadline: 200ms, max_shards: 1}}
"""


@pytest.fixture
def body():
    return wire.body(wire.series("up", 1.0))


@pytest.fixture
def start(start_proxy, pki):
    """start_proxy that watches over secrets."""

    def start(gateway, *flags, **options):
        secrets = [*SECRETS, pki.server.secret(), pki.client.secret()]
        return start_proxy(gateway, *flags, secrets=secrets, **options)

    return start


# -- The whole way -------------------------------------------------------------------------------


@pytest.fixture
def web_config(pki, tmp_path):
    """mTLS and one user, as Prometheus' web configuration has it."""
    path = tmp_path / "web.yml"
    path.write_text(json.dumps({
        "tls_server_config": {"cert_file": str(pki.server.cert), "key_file": str(pki.server.key),
                              "client_ca_file": str(pki.ca.cert),
                              "client_auth_type": "RequireAndVerifyClientCert"},
        "basic_auth_users": {"sender": PASSWORD_HASH}}))
    return path


@contextlib.contextmanager
def prometheus_before(proxy, pki, folder, password):
    """A Prometheus that scrapes, and writes to the proxy with this password."""
    (folder / "sender").mkdir()
    (folder / "password").write_text(password)
    sender = Prometheus(folder / "sender", SENDER.format(
        url=proxy.url.replace("127.0.0.1", "localhost"), ca=pki.ca.cert, cert=pki.client.cert,
        key=pki.client.key, password=folder / "password"))
    try:
        yield sender
    finally:
        sender.close()


def test_prometheus_writes_over_mtls_with_a_password_to_a_gateway_with_mtls_and_a_token(
        start, start_tls_gateway, pki, web_config, tmp_path):
    gateway = start_tls_gateway(server_context(pki.server, client_authority=pki.ca))
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    proxy = start(gateway, f"--http.config={web_config}", *pki.gateway_flags(pki.client),
                  f"--gateway.config=bearer_token_file: {token}",
                  tls=client_context(pki.ca, pki.client))
    with prometheus_before(proxy, pki, tmp_path, PASSWORD):
        until(lambda: any("up" in wire.names(post.request) for post in list(gateway.posts)),
              "what Prometheus scraped comes to the gateway")
    assert {post.headers.get("Authorization") for post in gateway.posts} == {f"Bearer {TOKEN}"}
    assert set(gateway.serials.values()) == {pki.client.serial}
    assert "level=warn" not in proxy.log and "level=error" not in proxy.log


def test_a_wrong_password_is_refused_and_noted(start, gateway, pki, web_config, body):
    proxy = start(gateway, f"--http.config={web_config}", tls=client_context(pki.ca, pki.client))
    wrong = PASSWORD.upper()
    proxy.secrets.append(wrong)
    for authorization in (None, basic("sender", wrong), basic("nobody", PASSWORD)):
        response = proxy.write(body, Authorization=authorization)
        assert response.status == 401
        assert response.headers.get("WWW-Authenticate").startswith("Basic")
    proxy.wait_line('level=warn .*msg="wrong user or password" user=sender')
    assert gateway.posts == []
    assert proxy.write(body, Authorization=basic("sender", PASSWORD)).status == 204


# -- Senders that are turned away ----------------------------------------------------------------

# What a client hears that is turned away: in TLS 1.3 only when it writes.
REFUSED = (OSError, http1.Broken)


def start_mutual(start, gateway, pki):
    return start(gateway, *pki.listener_flags(), tls=client_context(pki.ca, pki.client))


@pytest.mark.parametrize("who, cause", [
    (None, "has no certificate"),
    ("foreign", "signed by an unknown CA"),
    ("expired", "certificate has expired"),
])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_sender_with_a_bad_certificate_is_refused(start, gateway, pki, body, who, cause,
                                                    version):
    proxy = start_mutual(start, gateway, pki)
    pair = getattr(pki, who) if who else None
    with pytest.raises(REFUSED), \
            TlsClient(proxy.address, client_context(pki.ca, pair, version)) as client:
        client.write(body)
    proxy.wait_line(rf'level=warn .*msg="tls handshake failed" cause="[^"]*{cause}.*127\.0\.0\.1')
    assert gateway.posts == []
    assert proxy.metrics().value("agent_proxy_tls_handshake_failures_total") == 1
    assert proxy.write(body).status == 204  # and others go on


def test_a_certificate_for_servers_does_not_make_a_client(start, gateway, pki, body):
    """As Go has it: whoever has stolen a server's key cannot write with it."""
    proxy = start_mutual(start, gateway, pki)
    server_only = pki.ca.issue("server-only", usage="serverAuth")
    with pytest.raises(REFUSED), \
            TlsClient(proxy.address, client_context(pki.ca, server_only)) as client:
        client.write(body)
    proxy.wait_line('"tls handshake failed" cause="[^"]*not for clients')
    assert gateway.posts == []


def test_a_certificate_that_does_not_say_its_purpose_will_do(start, gateway, pki, body):
    proxy = start_mutual(start, gateway, pki)
    plain = pki.ca.issue("plain", usage="")
    with TlsClient(proxy.address, client_context(pki.ca, plain)) as client:
        assert client.write(body).status == 204


def test_tls_1_1_is_refused(start, gateway, pki):
    proxy = start_mutual(start, gateway, pki)
    result = run(["openssl", "s_client", "-connect", "%s:%d" % proxy.address, "-tls1_1",
                  "-cipher", "DEFAULT@SECLEVEL=0"], text="")
    assert result.returncode != 0
    proxy.wait_line('"tls handshake failed" cause="the client offers TLS 1.1 at most')


def test_a_sender_that_does_not_trust_us_is_noted(start, gateway, pki):
    proxy = start_mutual(start, gateway, pki)
    with pytest.raises(ssl.SSLError):
        TlsClient(proxy.address, client_context(pki.other_ca, pki.client))
    proxy.wait_line('"tls handshake failed" cause="the client refuses the connection" '
                    'alert="[^"]*CA')


def test_plain_http_to_a_tls_port_is_noted(start, gateway, pki):
    proxy = start_mutual(start, gateway, pki)
    run(["curl", "-s", "http://%s:%d/" % proxy.address])
    proxy.wait_line('"tls handshake failed" cause="[^"]*not TLS')


def test_a_flood_of_bad_handshakes_is_one_line_a_second(start, gateway, pki):
    proxy = start_mutual(start, gateway, pki)
    for _ in range(30):
        run(["curl", "-s", "http://%s:%d/" % proxy.address])
    assert proxy.metrics().value("agent_proxy_tls_handshake_failures_total") == 30
    assert proxy.log.count("tls handshake failed") <= 10


def test_without_a_client_ca_nobody_needs_a_certificate(start, gateway, pki, body):
    proxy = start(gateway, *pki.listener_flags(mutual=False), tls=client_context(pki.ca))
    assert proxy.write(body).status == 204


@pytest.mark.parametrize("kind, pairs", [
    ("RequestClientCert", {"none": 204, "foreign": 204, "client": 204}),
    ("RequireAnyClientCert", {"none": None, "foreign": 204, "client": 204}),
    ("VerifyClientCertIfGiven", {"none": 204, "foreign": None, "client": 204}),
    ("RequireAndVerifyClientCert", {"none": None, "foreign": None, "client": 204}),
])
def test_each_kind_of_client_auth_of_a_web_config(start, gateway, pki, body, tmp_path, kind,
                                                  pairs):
    config = tmp_path / "web.yml"
    authority = f", client_ca_file: {pki.ca.cert}" if "Verify" in kind else ""
    config.write_text(f"tls_server_config: {{cert_file: {pki.server.cert}, "
                      f"key_file: {pki.server.key}, client_auth_type: {kind}{authority}}}\n")
    proxy = start(gateway, f"--http.config={config}", tls=client_context(pki.ca, pki.client))
    for who, status in pairs.items():
        try:
            pair = None if who == "none" else getattr(pki, who)
            with TlsClient(proxy.address, client_context(pki.ca, pair)) as client:
                heard = client.write(body).status
        except REFUSED:
            heard = None
        assert heard == status, who


def test_half_a_handshake_costs_nothing(start, gateway, pki):
    """Whoever begins one and goes silent must not keep the worker busy."""
    proxy = start_mutual(start, gateway, pki)
    with socket.create_connection(proxy.address) as connection:
        connection.sendall(bytes.fromhex("16030100"))
        time.sleep(0.2)
        before_s = proxy.metrics().value("process_cpu_seconds_total")
        time.sleep(1)
        assert proxy.metrics().value("process_cpu_seconds_total") - before_s < 0.1


def test_a_large_write_and_a_large_answer(start, gateway, pki):
    """Many TLS records both ways."""
    proxy = start_mutual(start, gateway, pki)
    one = wire.literal_block(wire.write_request(*[
        wire.series(f"series_{n}", *range(20), padding="x" * 200) for n in range(4000)]))
    assert len(one) > 2 << 20
    with proxy.client() as client:
        assert client.write(one).status == 204
        for _ in range(3):
            assert len(client.request("GET", "/metrics").body) > 10_000
    assert gateway.wait_posts(1)[0].decoded.startswith(b"\x0a")


# -- Gateways that are not trusted ---------------------------------------------------------------

# What is left to say when the connection is reset before the gateway's alert could be read.
CLOSED = "may not take our certificate"


def refused_by(proxy, body, detail):
    response = proxy.write(body)
    assert response.status == 503
    assert 1 <= int(response.headers.get("Retry-After")) <= 300
    proxy.wait_line(rf'level=warn .*msg="gateway unavailable.* detail="[^"]*({detail})')


@pytest.mark.parametrize("who, detail", [
    ("foreign", "unable to get local issuer certificate"),
    ("expired", "certificate has expired"),
    ("misnamed", "no alternative certificate subject name matches target"),
])
def test_a_gateway_with_a_bad_certificate_gets_nothing(start, start_tls_gateway, pki, body, who,
                                                       detail):
    gateway = start_tls_gateway(server_context(getattr(pki, who)))
    proxy = start(gateway, *pki.gateway_flags(), f"--gateway.config=bearer_token: {TOKEN}")
    refused_by(proxy, body, detail)
    assert gateway.posts == []


def test_the_systems_authorities_are_the_default(start, start_tls_gateway, pki, body):
    """Verification is what happens when nothing is said of it."""
    gateway = start_tls_gateway(server_context(pki.server))
    refused_by(start(gateway), body, "unable to get local issuer certificate")
    assert gateway.posts == []


@pytest.mark.parametrize("how", ["flag", "config"])
def test_a_server_name_stands_in_for_the_address(start, start_tls_gateway, pki, body, how):
    context = server_context(pki.misnamed)
    asked = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    gateway = start_tls_gateway(context)
    flag = "--gateway.server-name=gateway.example" if how == "flag" else \
        "--gateway.config=tls_config: {server_name: gateway.example}"
    proxy = start(gateway, *pki.gateway_flags(), flag)
    assert proxy.write(body).status == 204
    assert proxy.get("/api/v1/query?query=up").status == 200
    assert set(asked) == {"gateway.example"}
    assert {post.headers.get("Host") for post in gateway.posts} == {gateway.host}


def test_a_wrong_server_name_is_refused(start, start_tls_gateway, pki, body):
    gateway = start_tls_gateway(server_context(pki.server))
    proxy = start(gateway, *pki.gateway_flags(), "--gateway.server-name=else.example")
    refused_by(proxy, body, "no alternative certificate subject name matches target")


def test_a_gateway_that_wants_a_certificate(start, start_tls_gateway, pki, body):
    gateway = start_tls_gateway(server_context(pki.server, client_authority=pki.ca))
    refused_by(start(gateway, *pki.gateway_flags()), body, f"certificate required|{CLOSED}")
    refused_by(start(gateway, *pki.gateway_flags(pki.foreign)), body, f"alert unknown ca|{CLOSED}")
    assert gateway.posts == []
    assert start(gateway, *pki.gateway_flags(pki.client)).write(body).status == 204


def test_a_gateway_with_tls_1_1_gets_nothing(start, start_tls_gateway, pki, body):
    gateway = start_tls_gateway(server_context(pki.server, maximum=ssl.TLSVersion.TLSv1_1))
    refused_by(start(gateway, *pki.gateway_flags()), body, "protocol")
    assert gateway.posts == []


def test_min_version_of_the_gateway_config(start, start_tls_gateway, pki, body):
    gateway = start_tls_gateway(server_context(pki.server, maximum=ssl.TLSVersion.TLSv1_2))
    assert start(gateway, *pki.gateway_flags()).write(body).status == 204
    strict = start(gateway, *pki.gateway_flags(),
                   "--gateway.config=tls_config: {min_version: TLS13}")
    refused_by(strict, body, "protocol")


def test_never_in_the_clear(start, gateway, pki, body):
    """A gateway that speaks plain HTTP where https is asked for sees no request."""
    proxy = start(gateway.url.replace("http:", "https:"), *pki.gateway_flags(),
                  "--gateway.insecure-skip-verify")
    refused_by(proxy, body, "")
    assert gateway.posts == []
    gateway.broken.clear()  # it has seen a handshake


def test_skipping_the_verification_is_warned_about(start, start_tls_gateway, pki, body):
    gateway = start_tls_gateway(server_context(pki.expired))
    proxy = start(gateway, "--gateway.insecure-skip-verify")
    proxy.wait_line("level=warn .*not verified")
    assert proxy.write(body).status == 204
    by_config = start(gateway, "--gateway.config=tls_config: {insecure_skip_verify: true}")
    by_config.wait_line("level=warn .*not verified")
    assert by_config.write(body).status == 204


def test_verification_is_not_warned_about(start, start_tls_gateway, pki, body):
    gateway = start_tls_gateway(server_context(pki.server))
    proxy = start(gateway, *pki.gateway_flags())
    assert proxy.write(body).status == 204
    assert "level=warn" not in proxy.log


@pytest.mark.parametrize("side", ["listener", "gateway"])
def test_an_expired_certificate_of_our_own_is_refused_at_start(pki, side):
    flags = pki.listener_flags(pki.expired) if side == "listener" else \
        pki.gateway_flags(pki.expired)
    result = run([BINARY, "--gateway.address=https://127.0.0.1:9", "--tenant=t",
                  "--http-address=127.0.0.1:0", *flags])
    assert result.returncode == 2
    assert "expired on 2021-01-01" in result.stderr


# -- Credentials ---------------------------------------------------------------------------------


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("form", ["flag", "file"])
@pytest.mark.parametrize("config, expected", [
    ("basic_auth: {{username: proxy, password: {password}}}", basic("proxy", PASSWORD)),
    ("basic_auth: {{username: proxy, password_file: {password_file}}}", basic("proxy", PASSWORD)),
    ("bearer_token: {token}", f"Bearer {TOKEN}"),
    ("bearer_token_file: {token_file}", f"Bearer {TOKEN}"),
    ("authorization: {{credentials: {token}}}", f"Bearer {TOKEN}"),
    ("authorization: {{type: Token, credentials_file: {token_file}}}", f"Token {TOKEN}"),
], ids=["basic", "basic-file", "bearer", "bearer-file", "authorization", "authorization-file"])
def test_credentials_reach_the_gateway(start, gateway, body, tmp_path, form, config, expected):
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "password").write_text(PASSWORD)
    text = config.format(token=TOKEN, password=PASSWORD, token_file=tmp_path / "token",
                         password_file=tmp_path / "password")
    if form == "file":
        (tmp_path / "gateway.yml").write_text(text)
    proxy = start(gateway, f"--gateway.config={text}" if form == "flag" else
                  f"--gateway.config-file={tmp_path}/gateway.yml")
    assert proxy.write(body).status == 204
    assert proxy.get("/api/v1/query?query=up").status == 200
    assert [post.headers.get("Authorization") for post in gateway.posts] == [expected] * 2
    assert not any(secret in proxy.get("/metrics").text for secret in SECRETS)


@pytest.mark.parametrize("status", [401, 403])
def test_a_gateway_that_does_not_know_us_is_503_to_the_sender(start, gateway, body, status):
    """Even one that says what it was told: neither log nor sender see it."""
    gateway.on_post = lambda post: answer(
        status, f"unknown: {post.headers.get('Authorization')}".encode())
    proxy = start(gateway, f"--gateway.config=bearer_token: {TOKEN}")
    response = proxy.write(body)
    assert response.status == 503 and TOKEN not in response.text
    proxy.wait_line(f"level=error .*credentials.* status={status}")
    assert proxy.metrics().value("agent_proxy_gateway_misconfigured") == 1


# -- A proxy on the way --------------------------------------------------------------------------


def test_a_proxy_on_the_way_to_https_sees_no_secret(start, start_tls_gateway, pki, body):
    gateway = start_tls_gateway(server_context(pki.server))
    with ForwardProxy() as forward:
        proxy = start(gateway, *pki.gateway_flags(),
                      f"--gateway.config={{proxy_url: 'http://proxy:{PASSWORD}@{forward.host}', "
                      f"bearer_token: {TOKEN}}}")
        gateway.script(answer(404, b"not here", X_Of="the gateway"))
        read = proxy.get("/api/v1/query?query=up")  # which makes the tunnel
        assert proxy.write(body).status == 204
    assert (read.status, read.body) == (404, b"not here")
    assert "X-Of-The-Proxy" not in read.headers
    assert {head.start for head in forward.heads} == {f"CONNECT {gateway.host} HTTP/1.1"}
    for head in forward.heads:
        assert head.headers.all("Proxy-Authorization") == [basic("proxy", PASSWORD)]
        assert "Authorization" not in head.headers and "WHIZARD-TENANT" not in head.headers
    for post in gateway.posts:
        assert post.headers.get("Authorization") == f"Bearer {TOKEN}"
        assert "Proxy-Authorization" not in post.headers


def test_a_proxy_on_the_way_to_plain_http(start, gateway, body):
    with ForwardProxy() as forward:
        proxy = start(gateway, f"--gateway.config=proxy_url: http://{forward.host}")
        assert proxy.write(body).status == 204
    assert forward.heads[0].start.startswith("POST http://")
    assert len(gateway.posts) == 1


def test_a_proxy_on_the_way_and_a_server_name(start, start_tls_gateway, pki, body):
    gateway = start_tls_gateway(server_context(pki.misnamed))
    with ForwardProxy() as forward:
        proxy = start(gateway, *pki.gateway_flags(), "--gateway.server-name=gateway.example",
                      f"--gateway.config=proxy_url: http://{forward.host}")
        assert proxy.write(body).status == 204
    assert forward.heads[0].start == f"CONNECT {gateway.host} HTTP/1.1"


@pytest.mark.parametrize("status", ["407 Who are you", "502 Bad Gateway"])
def test_a_proxy_on_the_way_that_refuses(start, start_tls_gateway, pki, body, status):
    gateway = start_tls_gateway(server_context(pki.server))
    with ForwardProxy(status) as forward:
        proxy = start(gateway, *pki.gateway_flags(),
                      f"--gateway.config=proxy_url: 'http://proxy:{PASSWORD}@{forward.host}'")
        refused_by(proxy, body, f"response {status[:3]}")
        assert proxy.get("/api/v1/query?query=up").status == 502
    assert gateway.posts == []


def test_the_environment_names_no_proxy(start, gateway, body, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert start(gateway).write(body).status == 204
