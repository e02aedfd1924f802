"""The program under test as a process."""

import os
import signal
import time

from . import prometheus_text
from .client import Client
from .ports import Port
from .process import WRAPPER, Process
from .tls import TlsClient
from .waiting import PATIENCE_S, until

_ROOT = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))

BINARY = os.path.join(_ROOT, os.environ.get("AGENT_PROXY", "build/release/agent-proxy"))
TENANT = "member-1"


class Proxy(Process):
    """agent-proxy in front of a gateway, ready when the constructor returns. wrapper: a command
    that becomes the proxy, as prlimit does. tls: the context of its clients, when it is served over
    TLS. secrets: what must never stand in its output."""

    def __init__(self, gateway_url, *flags, tenant=TENANT, port=None, wrapper=(), tls=None,
                 secrets=(), wait_ready=True):
        self.tls = tls
        self.secrets = list(secrets)
        self._own_port = None if port else Port()
        self.address = ("127.0.0.1", (port or self._own_port).number)
        started_s = time.monotonic()
        # One worker, so that whatever waits does so in one queue; a later flag says otherwise.
        super().__init__([*wrapper, *WRAPPER, BINARY, f"--gateway.address={gateway_url}",
                          f"--tenant={tenant}", "--http-address=%s:%d" % self.address,
                          "--workers=1", *flags])
        if wait_ready:
            until(self._ready_or_ended, "the proxy is ready")
            assert self.running(), f"ended at start:\n{self.log}"
        self.start_s = time.monotonic() - started_s

    @property
    def url(self):
        return "%s://%s:%d" % ("https" if self.tls else "http", *self.address)

    def client(self, timeout_s=PATIENCE_S):
        if self.tls:
            return TlsClient(self.address, self.tls, timeout_s)
        return Client(self.address, timeout_s)

    def write(self, body, **options):
        """One write on a connection of its own; options as for Client.write()."""
        with self.client() as client:
            return client.write(body, **options)

    def get(self, target, method="GET", **headers):
        with self.client() as client:
            return client.request(method, target, headers)

    def metrics(self):
        response = self.get("/metrics")
        assert response.status == 200
        return prometheus_text.parse(response.text)

    def wait_waiting(self, count):
        """Wait until this many writes are in the proxy, queued or sent and not yet answered."""
        until(lambda: self.metrics().value("agent_proxy_write_requests_waiting") == count,
              f"{count} writes wait in the proxy")

    def finish(self):
        """End it as an operator would, and hold it to a clean end. For the end of a scenario;
        one that has been killed or stopped by the scenario itself passes."""
        try:
            if self.running():
                assert self.stop(signal.SIGTERM) == 0, self.log
            self.assert_no_sanitizer_report()
            for secret in self.secrets:
                assert secret not in self.log, self.log
        finally:
            if self.running():
                self.kill()
            if self._own_port:
                self._own_port.close()

    def _ready_or_ended(self):
        if not self.running():
            return True
        try:
            return self.get("/-/ready").status == 200
        except OSError:
            return False
