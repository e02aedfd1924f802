"""Fixtures of the system tests; what they are made of is in harness/."""

import os
import shutil
import sys

sys.dont_write_bytecode = True

import pytest

from harness import wire
from harness.gateway import Gateway
from harness.pki import Pki
from harness.proxy import Proxy
from harness.tls import TlsGateway

USER = 200000 + os.getpid()  # nobody else's, so that only our own use is limited


@pytest.fixture(scope="session", autouse=True)
def protos(tmp_path_factory):
    wire.compile_protos(tmp_path_factory.mktemp("protos"))
    yield
    shutil.rmtree(tmp_path_factory.getbasetemp())  # the databases of peers among it


@pytest.fixture
def gateway():
    with Gateway() as gateway:
        yield gateway
    assert not gateway.broken, gateway.broken


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """Certificates; made when the first scenario asks for them."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def start_tls_gateway():
    """Start a scripted gateway over TLS: start_tls_gateway(context)."""
    gateways = []

    def start(context):
        gateways.append(TlsGateway(context))
        return gateways[-1]

    yield start
    for gateway in gateways:
        gateway.close()


@pytest.fixture
def start_proxy():
    """Start a proxy in front of a gateway, or of a URL: start_proxy(gateway, "--flag=value").
    Each is ended cleanly with the scenario; its log is shown when the scenario fails."""
    proxies = []

    def start(gateway, *flags, **options):
        url = gateway if isinstance(gateway, str) else gateway.url
        proxies.append(Proxy(url, *flags, **options))
        return proxies[-1]

    yield start
    try:
        for proxy in proxies:
            proxy.finish()
    finally:
        for proxy in proxies:
            proxy.kill()
            print(f"--- log of agent-proxy {proxy.pid}\n{proxy.log}")


@pytest.fixture
def proxy(gateway, start_proxy):
    """A proxy with default settings in front of the scripted gateway."""
    return start_proxy(gateway)


@pytest.fixture
def as_user():
    """A wrapper that gives the program another user, who may read what root may."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    rights = "+dac_override,+dac_read_search"
    return ["setpriv", f"--reuid={USER}", "--clear-groups", f"--inh-caps={rights}",
            f"--ambient-caps={rights}", "--"]
