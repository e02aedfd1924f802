"""A node that gives it little: no inotify instance, no answer of a name server."""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys

import pytest

from harness import wire
from harness.proxy import Proxy
from harness.reloading import SOON_S
from harness.waiting import in_background, until

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


@pytest.fixture
def name_server_says_nothing(tmp_path):
    """Call a function in a thread that is alone with a name server which takes all and says
    nothing: in a network and with a resolv.conf of their own."""
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\n")
    new_mounts, new_network, set_flags, is_up = 0x00020000, 0x40000000, 0x8914, 1

    def apart(play):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(new_mounts | new_network) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "--bind", resolv_conf, "/etc/resolv.conf"], check=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            fcntl.ioctl(server, set_flags, struct.pack("16sh14x", b"lo", is_up))
            server.bind(("127.0.0.1", 53))
            play()

    return lambda play: in_background(apart, play).result(60)


def test_lookups_end_soon_that_nobody_answers(name_server_says_nothing):
    """The thread of each outlives its write: glibc would keep it for 10 s."""
    def play():
        proxy = Proxy("http://gateway.example:9090")
        try:
            threads = len(os.listdir(f"/proc/{proxy.pid}/task"))
            assert proxy.write(wire.body(wire.series("up", 1.0))).status == 503
            until(lambda: len(os.listdir(f"/proc/{proxy.pid}/task")) == threads,
                  "the lookup is over", SOON_S + 1)
        finally:
            proxy.finish()

    name_server_says_nothing(play)


def test_too_few_descriptors_are_called_so(start_proxy, gateway, pki):
    """Wherever it is that they run out: one more is left at each try, until they are enough."""
    for count in range(4, 64):
        proxy = start_proxy(gateway, *pki.listener_flags(), wait_ready=False,
                            wrapper=["prlimit", f"--nofile={count}", "--"])
        until(lambda: not proxy.running() or "agent-proxy started" in proxy.log, "it is decided")
        if proxy.running():
            break
        proxy.wait()
        reasons = [line for line in proxy.lines if "level=error" in line]
        assert all(line.endswith('error="Too many open files"') for line in reasons), proxy.log
    assert count > 4 and proxy.running()
