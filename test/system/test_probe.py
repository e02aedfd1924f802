"""Probes and the life of the process: --probe, --ready.gateway, --shutdown-delay, a second signal,
and the start in the container that the proxy is made for."""

import contextlib
import os
import pathlib
import signal
import ssl
import time

import pytest

from harness import wire
from harness.gateway import Gateway, answer, hang
from harness.ports import Port
from harness.process import run
from harness.proxy import BINARY
from harness.tls import client_context, server_context
from harness.waiting import in_background, until

RELEASE = os.environ.get("BUILD", "release") == "release"


@pytest.fixture
def body():
    return wire.body(wire.series("up", 1.0))


def probe(url):
    return run([BINARY, f"--probe={url}"])


# -- --probe -------------------------------------------------------------------------------------


def test_the_probe_of_a_well_proxy(proxy):
    result = probe(f"{proxy.url}/-/ready")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_probe_over_https_trusts_whom_it_finds(start_proxy, gateway, pki):
    """It asks the program beside it, by an address that no certificate names."""
    proxy = start_proxy(gateway, *pki.listener_flags(pki.misnamed, mutual=False),
                        tls=_trusting())
    assert probe(f"{proxy.url}/-/healthy").returncode == 0


def _trusting():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_the_probe_where_certificates_are_required(start_proxy, gateway, pki):
    """It has none to show, and says so; --http.config with VerifyClientCertIfGiven lets it in."""
    proxy = start_proxy(gateway, *pki.listener_flags(), tls=client_context(pki.ca, pki.client))
    result = probe(f"{proxy.url}/-/ready")
    assert result.returncode == 1 and result.stderr.startswith("agent-proxy: --probe: ")


@pytest.mark.parametrize("status", [204, 301, 404, 503])
def test_the_probes_exit_code_is_the_status(gateway, status):
    gateway.on_post = lambda post: answer(status, Location=f"{gateway.url}/else")
    result = probe(f"{gateway.url}/-/ready")
    assert result.returncode == (0 if status == 204 else 1)
    assert result.stderr == ("" if status == 204 else
                             f"agent-proxy: --probe: {gateway.url}/-/ready: status {status}\n")


def test_the_probe_where_nobody_listens():
    with Port() as port:
        result = probe(f"http://127.0.0.1:{port.number}/")
    assert result.returncode == 1 and "connect" in result.stderr


def test_the_probe_of_who_does_not_answer(gateway):
    gateway.on_post = lambda post: hang
    start_s = time.monotonic()
    result = probe(gateway.url)
    assert result.returncode == 1 and "Timeout" in result.stderr
    assert 4.5 < time.monotonic() - start_s < 8


@pytest.mark.parametrize("url", ["file:///etc/hostname", "nonsense", ""])
def test_the_probe_of_what_is_no_url(url):
    assert probe(url).returncode in (1, 2)


def test_the_probe_asks_no_proxy_of_the_environment(proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert probe(f"{proxy.url}/-/ready").returncode == 0


# -- --ready.gateway -----------------------------------------------------------------------------


def readiness(proxy):
    response = proxy.get("/-/ready")
    return response.status, response.text.strip()


def test_ready_without_the_flag_asks_no_gateway(start_proxy):
    with Port() as port:
        proxy = start_proxy(f"http://127.0.0.1:{port.number}")
        assert readiness(proxy) == (200, "ready")


@pytest.mark.parametrize("status", [200, 404, 503])
def test_ready_with_a_gateway_that_answers_whatever(start_proxy, gateway, status):
    """That somebody answers is what is asked."""
    gateway.on_post = lambda post: answer(status)
    proxy = start_proxy(gateway, "--ready.gateway")  # which waits until it is ready
    assert readiness(proxy) == (200, "ready")
    assert gateway.posts[0].method == "GET"


def test_not_ready_without_a_gateway_until_a_write_gets_through(start_proxy, body):
    with Port() as port:
        proxy = start_proxy(f"http://127.0.0.1:{port.number}", "--ready.gateway",
                            wait_ready=False)
        proxy.wait_line("agent-proxy started")
        assert readiness(proxy) == (503, "no answer of the gateway for 30 s")
        assert proxy.get("/-/healthy").status == 200
        assert proxy.write(body).status == 503
        assert readiness(proxy)[0] == 503
        with Gateway(port=port.number) as gateway:
            assert proxy.write(body).status == 204
            assert readiness(proxy) == (200, "ready")
            assert len(gateway.posts) == 1


def test_not_ready_with_a_gateway_that_is_not_trusted(start_proxy, start_tls_gateway, pki):
    gateway = start_tls_gateway(server_context(pki.foreign))
    proxy = start_proxy(gateway, "--ready.gateway", *pki.gateway_flags(), wait_ready=False)
    proxy.wait_line("agent-proxy started")
    until(lambda: gateway.refused, "the gateway is asked")
    assert readiness(proxy)[0] == 503


# -- The end -------------------------------------------------------------------------------------


def test_the_delay_tells_first_and_accepts_meanwhile(start_proxy, gateway, body):
    proxy = start_proxy(gateway, "--shutdown-delay=1s")
    start_s = time.monotonic()
    proxy.send_signal(signal.SIGTERM)
    until(lambda: readiness(proxy) == (503, "stopping"), "it is not ready")
    assert proxy.get("/-/healthy").status == 200
    writes = 0
    while time.monotonic() - start_s < 0.8:
        response = proxy.write(body)  # each on a connection of its own
        assert response.status == 204
        writes += 1
    assert writes > 3
    assert proxy.wait() == 0
    assert 1.0 <= time.monotonic() - start_s < 4


def begin(proxy, gateway, phase):
    """Bring it into a phase of its end; what is under way is kept there."""
    if phase == "delay":
        proxy.send_signal(signal.SIGTERM)
        proxy.wait_line("stopping")
        return
    if phase == "settling":
        gateway.on_post = lambda post: hang
        in_background(proxy.write, wire.body(wire.series("up", 1.0)))
        gateway.wait_posts(1)
    proxy.send_signal(signal.SIGTERM)
    proxy.wait_line("stopping")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
@pytest.mark.parametrize("phase", ["delay", "settling", "quiet"])
def test_a_second_signal_ends_at_once(start_proxy, gateway, phase, number):
    delay = ["--shutdown-delay=20s"] if phase == "delay" else []
    proxy = start_proxy(gateway, *delay)
    with proxy.client() as idle:  # for which it stays a moment when all else is done
        assert idle.request("GET", "/-/healthy").status == 200
        begin(proxy, gateway, phase)
        start_s = time.monotonic()
        proxy.send_signal(number)
        assert proxy.wait() == 128 + number
    assert time.monotonic() - start_s < 1
    assert "ending at once" in proxy.log


def test_both_signals_at_once_are_a_first_and_a_second(start_proxy, gateway):
    proxy = start_proxy(gateway, "--shutdown-delay=20s")
    start_s = time.monotonic()
    proxy.send_signal(signal.SIGINT)
    proxy.send_signal(signal.SIGTERM)
    assert proxy.wait() in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert time.monotonic() - start_s < 2


# -- The container -------------------------------------------------------------------------------

MOUNT = pathlib.Path("/sys/fs/cgroup")
LIMITS = {
    1: (("cpu", "cpu.cfs_period_us", 100_000), ("cpu", "cpu.cfs_quota_us", 15_000),
        ("memory", "memory.limit_in_bytes", 300 << 20)),
    2: (("", "cpu.max", "15000 100000"), ("", "memory.max", 300 << 20)),
}


def cgroup_version():
    with contextlib.suppress(OSError):
        if {"cpu", "memory"} <= set((MOUNT / "cgroup.subtree_control").read_text().split()):
            return 2
    if all((MOUNT / name / "cgroup.procs").exists() for name in ("cpu", "memory")):
        return 1
    return None


@pytest.fixture
def container():
    """A command that puts what follows it into a cgroup of 150m CPU and 300 MiB."""
    if os.geteuid() != 0 or cgroup_version() is None:
        pytest.skip("needs root and cgroups with cpu and memory")
    limits = LIMITS[cgroup_version()]
    folders = {MOUNT / name / f"agent-proxy-test-{os.getpid()}" for name, _, _ in limits}
    try:
        for folder in folders:
            folder.mkdir()
        for name, file, value in limits:
            (MOUNT / name / f"agent-proxy-test-{os.getpid()}" / file).write_text(str(value))
        join = " && ".join(f"echo $$ >{folder}/cgroup.procs" for folder in folders)
        yield ["sh", "-c", f'{join} && exec "$@"', "sh"]
    finally:
        for folder in folders:
            until(lambda: not (folder / "cgroup.procs").read_text(), "the cgroup is empty")
            folder.rmdir()


def test_the_start_in_a_small_container(container, start_proxy, gateway, pki):
    """With TLS on both sides, whose libraries are what costs at a start."""
    proxy = start_proxy(gateway, "--workers=0", *pki.listener_flags(),
                        *pki.gateway_flags(pki.client), wrapper=container,
                        tls=client_context(pki.ca, pki.client))
    proxy.wait_line("agent-proxy started.* workers=1 cpu_quota_millis=150 "
                    f"memory_limit_bytes={300 << 20} memory_budget_bytes={75 << 20} ")
    metrics = proxy.metrics()
    assert metrics.value("agent_proxy_workers") == 1
    assert metrics.value("agent_proxy_container_cpu_quota_cores") == 0.15
    assert metrics.value("agent_proxy_container_memory_limit_bytes") == 300 << 20
    assert metrics.value("agent_proxy_memory_budget_bytes") == 75 << 20
    print(f"ready after {proxy.start_s:.2f} s")
    if RELEASE:
        assert proxy.start_s < 1.0
    assert "settings allow more memory" not in proxy.log
