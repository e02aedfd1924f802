"""A limit of descriptors below what --limits.connections would take."""

import socket

import pytest

from harness import wire

DESCRIPTORS = 256


@pytest.fixture
def flood():
    """Connect so often, and say nothing."""
    senders = []

    def flood(proxy, count):
        senders.extend(socket.create_connection(proxy.address, 20) for _ in range(count))

    yield flood
    for sender in senders:
        sender.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_senders_leave_what_the_gateway_is_reached_with(start_proxy, gateway, flood, workers):
    """However often it closes its connections, and health can still be asked for."""
    proxy = start_proxy(gateway, f"--workers={workers}",
                        wrapper=["prlimit", f"--nofile={DESCRIPTORS}", "--"])
    body = wire.body(wire.series("up", 1.0))
    with proxy.client() as client:
        assert client.write(body).status == 204
        flood(proxy, 2 * DESCRIPTORS)
        for _ in range(5):
            gateway.drop_connections()
            assert proxy.get("/-/healthy").status == 200
            assert client.write(body).status == 204
    assert "Too many open files" not in proxy.log
    proxy.wait_line(f"level=warn .*too few descriptors.* descriptors={DESCRIPTORS} connections=")
