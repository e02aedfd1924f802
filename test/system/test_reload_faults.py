"""What changes while the proxy runs, and cannot be put to use at once, or is not what is meant."""

import contextlib
import os
import resource
import shutil
import signal
import time

import pytest

from harness import wire
from harness.prometheus_text import parse
from harness.reloading import (FAILED, READ_AGAIN, SOON_S, SUCCESSFUL, Plain, Volume, files_of,
                               listener_flags, served, wait_served)
from harness.tls import client_context
from harness.waiting import until

RETRIES_S = 2.5  # at least two of them
SETTLE_S = 0.1  # between a reading that is doubted and the next
UNUSED = "cannot use the new certificate and key"
USED = "the certificate and key that were read last are in use"
UNCHANGED = "nothing has changed"
HASH = "$2b$06$abcdefghijklmnopqrstuu6UU9xzVsCmnpwOtAmb83C8f/bD4EL9K"  # of "x"


@contextlib.contextmanager
def one_descriptor(proxy, client):
    """It may open one more: enough to read a file, and then for one worker to serve with it, not
    for another. client is the only one that is connected."""
    until(lambda: metric(client, "agent_proxy_connections") == 1, "the others are gone")
    used = {int(name) for name in os.listdir(f"/proc/{proxy.pid}/fd")}
    free = [number for number in range(max(used) + 3) if number not in used]
    before = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (free[1], before[1]))
    try:
        yield
    finally:
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, before)


def metric(client, name):
    return parse(client.request("GET", "/metrics").text).value(name)


def test_a_certificate_that_finds_no_descriptor_is_tried_again(start_proxy, gateway, pki,
                                                               tmp_path):
    volume = Volume(tmp_path / "listener", **files_of(pki.server))
    proxy = start_proxy(gateway, *listener_flags(volume, pki), "--workers=2", "--workers.fill=0",
                        tls=client_context(pki.ca, pki.client))
    new = pki.ca.issue("new")
    with proxy.client() as client:
        assert metric(client, SUCCESSFUL) == 1
        with one_descriptor(proxy, client):
            volume.swap(**files_of(new))
            proxy.wait_line(f'level=error .*{UNUSED}.*error="Too many open files"')
            time.sleep(RETRIES_S)
            assert metric(client, SUCCESSFUL) == 0
    until(lambda: proxy.metrics().value(SUCCESSFUL) == 1, "each worker can use it", SOON_S)
    assert {served(proxy) for _ in range(8)} == {new.serial}
    assert proxy.log.count(UNUSED) == 1 and proxy.log.count(USED) == 1


def tls_config(pair):
    return f"tls_server_config: {{cert_file: {pair.cert}, key_file: {pair.key}}}"


def test_tls_that_goes_and_comes_back_is_new_too(start_proxy, gateway, pki, tmp_path):
    """What counts is what is served, not what was read before."""
    config = Plain(tmp_path / "config", web_yml=tls_config(pki.server).encode())
    proxy = start_proxy(gateway, f"--http.config={config.web_yml}", tls=client_context(pki.ca))
    config.swap(web_yml=b"{}")
    proxy.wait_line("level=warn .*only with a restart")
    new = pki.ca.issue("new")
    config.swap(web_yml=tls_config(new).encode())
    wait_served(proxy, new)
    assert proxy.log.count(READ_AGAIN) == 2
    warnings = [line for line in proxy.lines if "only with a restart" in line]
    assert len(warnings) == 1 and warnings[0].endswith(" now=https")


def write_in_place(proxy, path, text):
    """As many programs do: the file is empty first, and is read then, twice. How long that took."""
    began_s = time.monotonic()
    with open(path, "w", encoding="ascii") as file:
        for _ in range(2):
            proxy.send_signal(signal.SIGHUP)
            time.sleep(SETTLE_S / 8)
        file.write(text)
    return time.monotonic() - began_s


@pytest.mark.parametrize("protection", ["users", "tls"])
def test_a_file_that_is_empty_for_a_moment_takes_no_protection_away(start_proxy, gateway, pki,
                                                                    tmp_path, protection):
    text = f"basic_auth_users: {{u: {HASH}}}" if protection == "users" else tls_config(pki.server)
    config = Plain(tmp_path / "config", web_yml=text.encode())
    proxy = start_proxy(gateway, f"--http.config={config.web_yml}",
                        tls=client_context(pki.ca) if protection == "tls" else None)
    said = 0
    while write_in_place(proxy, config.web_yml, text) >= SETTLE_S:
        time.sleep(1)  # the machine has other work; what comes of it is over then
        said = len(proxy.lines)
    log = until(lambda: [line for line in proxy.lines[said:]
                         if READ_AGAIN in line or UNCHANGED in line], "it is read")
    assert UNCHANGED in log[0]
    if protection == "users":
        assert proxy.get("/metrics").status == 401


def test_what_is_wrong_with_one_side_keeps_nothing_new_from_the_other(start_proxy, gateway, pki,
                                                                      tmp_path):
    listener = Volume(tmp_path / "listener", **files_of(pki.server))
    token = Volume(tmp_path / "token", token=b"first")
    proxy = start_proxy(gateway, *listener_flags(listener, pki),
                        f"--gateway.config=authorization: {{credentials_file: {token.token}}}",
                        tls=client_context(pki.ca, pki.client))
    listener.swap(**files_of(pki.expired))
    proxy.wait_line(f'level=error .*{FAILED}" error=.*expired')
    token.swap(token=b"second")
    proxy.wait_line(READ_AGAIN)
    assert served(proxy) == pki.server.serial
    assert proxy.write(wire.body(wire.series("up", 1.0))).status == 204
    assert gateway.posts[0].headers.get("Authorization") == "Bearer second"
    assert proxy.metrics().value(SUCCESSFUL) == 0

    token.swap(token=b"")
    proxy.wait_line(f'level=error .*{FAILED}" error=.*credentials_file')
    new = pki.ca.issue("new")
    listener.swap(**files_of(new))
    wait_served(proxy, new)
    assert proxy.write(wire.body(wire.series("up", 1.0))).status == 204
    assert gateway.posts[1].headers.get("Authorization") == "Bearer second"
    assert proxy.metrics().value(SUCCESSFUL) == 0
    token.swap(token=b"third")
    until(lambda: proxy.metrics().value(SUCCESSFUL) == 1, "all of it is good again", SOON_S)


def test_files_that_were_gone_are_watched_again(start_proxy, gateway, pki, tmp_path):
    """The folder is another then, and while it was gone the other side has changed."""
    files = Plain(tmp_path / "listener", **files_of(pki.server))
    token = Volume(tmp_path / "token", token=b"first")
    proxy = start_proxy(gateway, f"--server-tls-cert={files.tls_crt}",
                        f"--server-tls-key={files.tls_key}",
                        f"--gateway.config=authorization: {{credentials_file: {token.token}}}",
                        tls=client_context(pki.ca))
    proxy.get("/metrics")
    shutil.rmtree(files.folder)
    proxy.wait_line(f'level=error .*{FAILED}" error=.*tls.crt')
    token.swap(token=b"second")
    proxy.wait_line(f"{READ_AGAIN}.* side=gateway")
    files.folder.mkdir()
    files.swap(**files_of(pki.server))
    proxy.wait_line("reload works again, nothing has changed")
    new = pki.ca.issue("new")
    files.swap(**files_of(new))
    wait_served(proxy, new)
