"""A start where the node leaves it little: no inotify instance, no name server."""

import os
import signal
import subprocess
import sys

import pytest

from harness import wire
from harness.waiting import until

SOON_S = 2.0  # within which a changed file that is watched is in use
USER = 200000 + os.getpid()  # nobody else's, so that only our own instances are taken

# Takes all instances that its user may have, says so and stays until its input ends.
HOLDER = """
import ctypes, sys
libc = ctypes.CDLL(None)
while libc.inotify_init() >= 0: pass
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def token(tmp_path):
    (tmp_path / "token").write_text("first")
    return tmp_path / "token"


def token_flag(token):
    return f"--gateway.config=authorization: {{credentials_file: {token}}}"


def wait_sent(proxy, gateway, authorization):
    def sent():
        assert proxy.write(wire.body(wire.series("up", 1.0))).status == 204
        return gateway.posts[-1].headers.get("Authorization") == authorization

    until(sent, f"the gateway sees {authorization}", SOON_S)


@pytest.fixture
def as_user():
    """A wrapper that gives the program another user, who may read what root may."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    rights = "+dac_override,+dac_read_search"
    return ["setpriv", f"--reuid={USER}", "--clear-groups", f"--inh-caps={rights}",
            f"--ambient-caps={rights}", "--"]


@pytest.fixture
def no_inotify(as_user):
    """Others of the same user have all inotify instances, of which a node gives each user 128."""
    with subprocess.Popen([*as_user, sys.executable, "-c", HOLDER], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == "held\n"
        yield
        holder.stdin.close()


def test_without_inotify_files_are_read_on_sighup(start_proxy, gateway, token, as_user,
                                                  no_inotify):
    proxy = start_proxy(gateway, token_flag(token), wrapper=as_user)
    proxy.wait_line("level=warn .*cannot watch files.*look now and then.*Too many open files")
    wait_sent(proxy, gateway, "Bearer first")
    token.write_text("second")
    proxy.send_signal(signal.SIGHUP)
    wait_sent(proxy, gateway, "Bearer second")


def test_without_inotify_and_files_nothing_is_said(start_proxy, gateway, as_user, no_inotify):
    proxy = start_proxy(gateway, wrapper=as_user)
    proxy.wait_line("agent-proxy started")
    assert "level=warn" not in proxy.log
