"""Users, passwords and headers of the listener, as --http.config sets them."""

import base64
import contextlib
import signal
import socket
import time
import warnings

import pytest

from harness import wire
from harness.client import WRITE_HEADERS, WRITE_PATH
from harness.gateway import answer
from harness.peers import Prometheus
from harness.process import run
from harness.waiting import until

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import crypt

PASSWORD = "sesame-that-nobody-may-see"
WRONG = "another-that-nobody-may-see"


def bcrypt(password, cost=6):
    return crypt.crypt(password, f"$2b${cost:02}$abcdefghijklmnopqrstuu")


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


ALICE = basic("alice", PASSWORD)


@pytest.fixture
def body():
    return wire.body(wire.series("up", 1.0))


@pytest.fixture
def web_config(tmp_path):
    """Write the web configuration; its flag."""
    path = tmp_path / "web.yml"

    def write(password=PASSWORD, cost=6, more=""):
        path.write_text(f"basic_auth_users:\n  alice: {bcrypt(password, cost)}\n{more}")
        return f"--http.config={path}"

    return write


@pytest.fixture
def start(start_proxy, web_config):
    """A proxy that asks for a password; its log never shows one."""
    proxies = []

    def start(gateway, flag=None, *flags, **options):
        proxies.append(start_proxy(gateway, flag or web_config(), *flags, **options))
        return proxies[-1]

    yield start
    for proxy in proxies:
        for secret in (PASSWORD, WRONG, ALICE.split()[1], "$2b$"):
            assert secret not in proxy.log


def get(proxy, target, authorization=None):
    with proxy.client() as client:
        return client.request("GET", target,
                              {"Authorization": authorization} if authorization else {})


def rejected(proxy, reason):
    text = get(proxy, "/metrics", ALICE).text
    line = f'agent_proxy_requests_rejected_total{{reason="{reason}"}} '
    return int(float(text.partition(line)[2].split("\n")[0]))


def test_a_write_needs_the_right_password(gateway, start, body):
    proxy = start(gateway)
    with proxy.client() as client:
        for wrong in (None, "Bearer x", basic("alice", WRONG), basic("alice", WRONG),
                      basic("nobody", PASSWORD), basic("alice", "")):
            response = client.write(body, Authorization=wrong)
            assert response.status == 401
            assert response.headers.get("WWW-Authenticate", "").startswith("Basic realm=")
        assert client.write(body, Authorization=ALICE).status == 204
        assert client.write(body, Authorization=ALICE).status == 204
    assert len(gateway.posts) == 2
    assert "Authorization" not in str(gateway.posts[0].headers)
    assert rejected(proxy, "unauthorized") == 6
    proxy.wait_line(r"wrong user or password.*user=alice peer=127\.0\.0\.1")


def test_only_probes_are_open(gateway, start):
    proxy = start(gateway)
    for target in ("/metrics", "/api/v1/query?query=up"):
        assert get(proxy, target).status == 401
        assert get(proxy, target, ALICE).status == 200
    for target in ("/-/healthy", "/-/ready"):
        assert get(proxy, target).status == 200


def test_a_body_is_not_read_before_the_verdict(gateway, start, web_config):
    """More than a socket's buffers hold does not get through while the password is checked."""
    proxy = start(gateway, web_config(cost=13))
    with proxy.client() as client:
        client.send(client.head("POST", WRITE_PATH, {
            **WRITE_HEADERS, "Authorization": ALICE, "Content-Length": str(30 << 20)}))
        client.socket.setblocking(False)
        sent_bytes = 0
        with contextlib.suppress(BlockingIOError):
            while sent_bytes < 30 << 20:
                sent_bytes += client.socket.send(bytes(1 << 20))
        assert sent_bytes < 20 << 20
        assert proxy.get("/-/healthy").status == 200


def test_checks_do_not_hold_up_the_others(gateway, start, web_config, body):
    proxy = start(gateway, web_config(cost=12))
    assert proxy.write(body, Authorization=ALICE).status == 204
    with contextlib.ExitStack() as stack:
        guesses = [stack.enter_context(proxy.client()) for _ in range(8)]
        for number, client in enumerate(guesses):
            client.send_request("POST", WRITE_PATH, {
                **WRITE_HEADERS, "Authorization": basic("alice", f"{WRONG}{number}")}, body)
        began_s = time.monotonic()
        with proxy.client() as client:
            for _ in range(5):
                assert client.write(body, Authorization=ALICE).status == 204
        took_s = time.monotonic() - began_s
        assert [client.read_response("POST").status for client in guesses] == [401] * 8
        assert took_s < (time.monotonic() - began_s) / 2


def test_too_many_checks_are_put_off(gateway, start, web_config, body):
    proxy = start(gateway, web_config(cost=11))
    with contextlib.ExitStack() as stack:
        guesses = [stack.enter_context(proxy.client()) for _ in range(30)]
        for number, client in enumerate(guesses):
            client.send_request("POST", WRITE_PATH, {
                **WRITE_HEADERS, "Authorization": basic("alice", f"{WRONG}{number}")}, body)
        responses = [client.read_response("POST") for client in guesses]
    late = [response for response in responses if response.status == 503]
    assert late and all(int(response.headers.get("Retry-After")) > 0 for response in late)
    assert {response.status for response in responses} == {401, 503}
    assert rejected(proxy, "password_checks") == len(late)
    assert not gateway.posts


def test_a_check_that_finds_no_thread_says_so(gateway, start, as_user, body):
    proxy = start(gateway, wrapper=as_user)

    def limit_threads(count):
        run([*as_user, "prlimit", f"--pid={proxy.pid}", f"--nproc={count}:"]).check_returncode()

    limit_threads(1)
    for _ in range(3):
        response = proxy.write(body, Authorization=ALICE)
        assert (response.status, response.text) == (503, "passwords cannot be checked for now\n")
        assert int(response.headers.get("Retry-After")) > 0
    limit_threads(100)
    assert proxy.write(body, Authorization=ALICE).status == 204
    proxy.wait_line("level=error .*cannot make the thread that checks passwords")
    assert proxy.log.count("cannot make the thread") == 1


def test_a_client_that_leaves_while_it_is_checked_does_no_harm(gateway, start, web_config, body):
    proxy = start(gateway, web_config(cost=11))
    for target in (WRITE_PATH, "/api/v1/query"):
        with proxy.client() as client:
            client.send_request("POST", target, {**WRITE_HEADERS, "Authorization": ALICE}, body)
            client.socket.shutdown(socket.SHUT_RDWR)
        assert proxy.write(body, Authorization=ALICE).status == 204


def test_a_reload_changes_users_and_headers(gateway, start, web_config, body):
    proxy = start(gateway, web_config(more="http_server_config:\n  headers:\n"
                                           "    X-Frame-Options: deny\n"))
    with proxy.client() as client:
        response = client.write(body, Authorization=ALICE)
        assert (response.status, response.headers.get("X-Frame-Options")) == (204, "deny")
        web_config(password="new", more="http_server_config:\n  headers:\n"
                                        "    X-Frame-Options: SAMEORIGIN\n")
        proxy.send_signal(signal.SIGHUP)
        proxy.wait_line("were read again")
        until(lambda: client.write(body, Authorization=basic("alice", "new")).status == 204,
              "the new password is the one in use")
        response = client.write(body, Authorization=ALICE)
        assert (response.status, response.headers.get("X-Frame-Options")) == (401, "SAMEORIGIN")


def test_headers_are_on_every_kind_of_reply(gateway, start, web_config, body):
    proxy = start(gateway, web_config(more="http_server_config:\n  headers:\n"
                                           "    Strict-Transport-Security: max-age=60\n"))
    gateway.on_post = lambda post: answer(200, b"{}") if post.target.count("query") else None
    for response in (proxy.write(body, Authorization=ALICE), proxy.write(body),
                     get(proxy, "/metrics", ALICE), get(proxy, "/nowhere"),
                     get(proxy, "/api/v1/query?query=up", ALICE), get(proxy, "/-/healthy"),
                     get(proxy, "/api/v1/../x")):
        assert response.headers.get("Strict-Transport-Security") == "max-age=60", response.status


def test_a_real_prometheus_writes_with_a_password(gateway, start, tmp_path):
    proxy = start(gateway)
    prometheus = Prometheus(tmp_path, f"""
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
- job_name: nobody
  static_configs: [{{targets: ["127.0.0.1:9"]}}]
remote_write:
- url: {proxy.url}/api/v1/receive
  basic_auth: {{username: alice, password: {PASSWORD}}}
  queue_config: {{batch_send_deadline: 200ms, max_shards: 1}}
""")
    try:
        gateway.wait_posts(3)
    finally:
        prometheus.close()
    assert rejected(proxy, "unauthorized") == 0
