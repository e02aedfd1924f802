"""Certificates, keys and tokens change while the proxy runs: no request is lost over it."""

import contextlib
import os
import signal
import threading
import time

import pytest

from harness import wire
from harness.reloading import (FAILED, READ_AGAIN, SOON_S, SUCCESSFUL, Plain, Volume, files_of,
                               listener_flags, served, wait_served)
from harness.tls import TlsClient, client_context, server_context
from harness.waiting import in_background, until

SWAPS = 50
SENDERS = 4


@pytest.fixture
def body():
    return wire.body(wire.series("up", 1.0))


class Senders:
    """Write on connections that are kept until the proxy says that it closes them."""

    def __init__(self, proxy, body):
        self.proxy = proxy
        self.body = body
        self.accepted = 0
        self.connections = 0
        self.faults = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [in_background(self._run) for _ in range(SENDERS)]

    def _run(self):
        while not self._stop.is_set():
            with self.proxy.client() as client:
                with self._lock:
                    self.connections += 1
                while not self._stop.is_set() and self._write(client):
                    pass

    def _write(self, client):
        response = client.write(self.body)
        with self._lock:
            if response.status == 204:
                self.accepted += 1
            else:
                self.faults.append((response.status, response.text))
        time.sleep(0.002)  # the machine has other work
        return response.headers.get("Connection") != "close"

    def finish(self):
        """Stop; whatever broke a connection is raised."""
        self._stop.set()
        for thread in self._threads:
            thread.result(20)
        assert self.faults == []


def wait_sent(gateway, authorization, pair):
    """Wait for a post with these words over a connection with this certificate."""
    def sent():
        post = gateway.posts[-1]
        return post.headers.get("Authorization") == authorization and \
            gateway.serials.get(post.connection) == pair.serial

    until(sent, f"the gateway sees {authorization} and the certificate", SOON_S, 0.02)


def descriptors(proxy):
    found = []
    for fd in os.listdir(f"/proc/{proxy.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(f"/proc/{proxy.pid}/fd/{fd}").split(":")[0])
    return found


def watches(proxy):
    text = ""
    for fd in os.listdir(f"/proc/{proxy.pid}/fdinfo"):
        with contextlib.suppress(FileNotFoundError), \
                open(f"/proc/{proxy.pid}/fdinfo/{fd}", encoding="ascii") as info:
            text += info.read()
    return text.count("inotify wd")


def test_fifty_swaps_on_both_sides_under_load_lose_nothing(start_proxy, start_tls_gateway, pki,
                                                           body, tmp_path):
    """The listener's certificate by a swapped link, the gateway's client certificate by renames,
    the token by writing it over; now and then with SIGHUP on top."""
    gateway = start_tls_gateway(server_context(pki.server, client_authority=pki.ca))
    listener = Volume(tmp_path / "listener", **files_of(pki.server))
    client = Plain(tmp_path / "client", **files_of(pki.client))
    token = Plain(tmp_path / "token", token=b"token-0")
    proxy = start_proxy(
        gateway, *listener_flags(listener, pki), f"--gateway.server-tls-client-ca={pki.ca.cert}",
        f"--gateway.client-tls-cert={client.tls_crt}", f"--gateway.client-tls-key={client.tls_key}",
        f"--gateway.config=bearer_token_file: {token.token}",
        "--maxIdleConnsPerHost=4", secrets=["token-0", "token-5"],
        tls=client_context(pki.ca, pki.client))
    ours = [pki.ca.issue("ours") for _ in range(2)]
    theirs = [pki.ca.issue("gateway") for _ in range(2)]
    senders = Senders(proxy, body)
    delays_s = []
    for number in range(1, SWAPS + 1):
        new, our = pki.ca.issue("listener"), ours[number % 2]
        gateway.context = server_context(theirs[number % 2], client_authority=pki.ca)
        listener.swap(**files_of(new))
        client.swap(**files_of(our))
        token.write_over(token=b"token-%d" % number)
        if number % 10 == 0:
            proxy.send_signal(signal.SIGHUP)
        delays_s.append(wait_served(proxy, new))
        wait_sent(gateway, f"Bearer token-{number}", our)
        if number == 2:
            before = descriptors(proxy), watches(proxy)
    senders.finish()

    print(f"{senders.accepted} writes over {senders.connections} connections, the new certificate "
          f"served after {max(delays_s):.2f} s at most, descriptors {len(before[0])} -> "
          f"{len(descriptors(proxy))}")
    assert max(delays_s) < SOON_S
    assert senders.accepted >= SWAPS and proxy.log.count(READ_AGAIN) >= SWAPS
    assert FAILED not in proxy.log
    assert "level=error" not in proxy.log and "level=warn" not in proxy.log
    assert len(descriptors(proxy)) <= len(before[0]) + 2
    assert watches(proxy) == before[1]
    assert proxy.metrics().value(SUCCESSFUL) == 1


@pytest.mark.parametrize("way", ["link", "rename", "in-place", "sighup"])
def test_a_new_certificate_is_served_soon(start_proxy, gateway, pki, tmp_path, way):
    kind = Volume if way == "link" else Plain
    volume = kind(tmp_path / "listener", **files_of(pki.server))
    proxy = start_proxy(gateway, *listener_flags(volume, pki),
                        tls=client_context(pki.ca, pki.client))
    assert served(proxy) == pki.server.serial
    new = pki.ca.issue("new")
    if way in ("in-place", "sighup"):
        volume.write_over(**files_of(new))
    else:
        volume.swap(**files_of(new))
    if way == "sighup":
        proxy.send_signal(signal.SIGHUP)
    wait_served(proxy, new)
    proxy.wait_line(f'{READ_AGAIN}" reason={"SIGHUP" if way == "sighup" else ".a file changed"}')


def test_a_busy_folder_does_not_put_it_off(start_proxy, gateway, pki, tmp_path):
    """Somebody writes another file there all the time."""
    volume = Plain(tmp_path / "listener", **files_of(pki.server))
    proxy = start_proxy(gateway, *listener_flags(volume, pki),
                        tls=client_context(pki.ca, pki.client))
    stop = threading.Event()

    def scribble():
        while not stop.wait(0.02):
            (volume.folder / "other").write_text("something")

    scribbler = in_background(scribble)
    try:
        new = pki.ca.issue("new")
        volume.swap(**files_of(new))
        wait_served(proxy, new)
    finally:
        stop.set()
        scribbler.result(5)


def test_an_old_connection_goes_on_until_its_next_reply(start_proxy, gateway, pki, body, tmp_path):
    volume = Volume(tmp_path / "listener", **files_of(pki.server))
    proxy = start_proxy(gateway, *listener_flags(volume, pki),
                        tls=client_context(pki.ca, pki.client))
    with proxy.client() as idle, proxy.client() as busy:
        assert idle.write(body).status == 204
        assert "Connection" not in busy.write(body).headers
        with gateway.holding():
            under_way = in_background(busy.write, body)
            gateway.wait_posts(3)
            new = pki.ca.issue("new")
            volume.swap(**files_of(new))
            wait_served(proxy, new)
        for response, connection in ((under_way.result(20), busy), (idle.write(body), idle)):
            assert response.status == 204
            assert response.headers.get("Connection") == "close"
            assert connection.closed_by_peer()


def test_a_new_token_alone_costs_no_connection(start_proxy, gateway, pki, body, tmp_path):
    token = Plain(tmp_path / "token", token=b"first")
    proxy = start_proxy(gateway, *pki.listener_flags(),
                        f"--gateway.config=authorization: {{credentials_file: {token.token}}}",
                        tls=client_context(pki.ca, pki.client))
    with proxy.client() as client:
        assert client.write(body).status == 204
        token.swap(token=b"second")
        proxy.wait_line(READ_AGAIN)
        response = client.write(body)
    assert response.status == 204 and "Connection" not in response.headers
    assert [post.headers.get("Authorization") for post in gateway.posts] == \
        ["Bearer first", "Bearer second"]
    assert {post.connection for post in gateway.posts} == {0}


def test_a_new_client_ca_holds_for_new_connections(start_proxy, gateway, pki, body, tmp_path):
    """The authority is replaced: who was known is not, who was not is."""
    volume = Plain(tmp_path / "ca", ca_crt=pki.ca.cert.read_bytes())
    proxy = start_proxy(gateway, f"--server-tls-cert={pki.server.cert}",
                        f"--server-tls-key={pki.server.key}",
                        f"--server-tls-client-ca={volume.ca_crt}",
                        tls=client_context(pki.ca, pki.client))
    assert proxy.write(body).status == 204
    volume.swap(ca_crt=pki.other_ca.cert.read_bytes())
    proxy.wait_line(READ_AGAIN)
    proxy.tls = client_context(pki.ca, pki.foreign)
    until(lambda: proxy.write(body).status == 204, "the other CA's client is let in", SOON_S)
    with pytest.raises(Exception, match="(?i)closed|reset|alert|eof|broken"), \
            TlsClient(proxy.address, client_context(pki.ca, pki.client)) as client:
        client.write(body)
    proxy.wait_line("signed by an unknown CA")


def rubbish(pki):
    return {"tls_crt": b"this is no certificate\n", "tls_key": pki.server.key.read_bytes()}


def of_another(pki):
    return {"tls_crt": pki.server.cert.read_bytes(), "tls_key": pki.client.key.read_bytes()}


def expired(pki):
    return files_of(pki.expired)


def empty(pki):
    return {"tls_crt": b"", "tls_key": b""}


@pytest.mark.parametrize("broken, why", [
    (rubbish, r"tls\.crt: "), (of_another, "key"), (expired, "expired"), (empty, r"tls\.crt: "),
], ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_pair_keeps_the_old_and_heals(start_proxy, gateway, pki, body, tmp_path, broken,
                                               why):
    volume = Volume(tmp_path / "listener", **files_of(pki.server))
    proxy = start_proxy(gateway, *listener_flags(volume, pki), secrets=[pki.server.secret()],
                        tls=client_context(pki.ca, pki.client))
    volume.swap(**broken(pki))
    proxy.wait_line(f'level=error .*{FAILED}" error=.*{why}')
    assert proxy.metrics().value(SUCCESSFUL) == 0
    assert served(proxy) == pki.server.serial and proxy.write(body).status == 204

    new = pki.ca.issue("new")
    volume.swap(**files_of(new))
    wait_served(proxy, new)
    until(lambda: proxy.metrics().value(SUCCESSFUL) == 1, "the reload is successful again")


def test_the_same_files_again_heal_too(start_proxy, gateway, pki, tmp_path):
    volume = Volume(tmp_path / "listener", **files_of(pki.server))
    proxy = start_proxy(gateway, *listener_flags(volume, pki),
                        tls=client_context(pki.ca, pki.client))
    volume.swap(**rubbish(pki))
    proxy.wait_line(FAILED)
    volume.swap(**files_of(pki.server))
    until(lambda: proxy.metrics().value(SUCCESSFUL) == 1, "the reload is successful again")
    proxy.wait_line("level=info .*reload works again")


def test_files_that_are_gone_for_a_moment(start_proxy, gateway, pki, body, tmp_path):
    volume = Plain(tmp_path / "listener", **files_of(pki.server))
    proxy = start_proxy(gateway, *listener_flags(volume, pki),
                        tls=client_context(pki.ca, pki.client))
    volume.tls_key.unlink()
    proxy.wait_line(rf"{FAILED}.*tls\.key: No such file")
    assert proxy.write(body).status == 204
    new = pki.ca.issue("new")
    volume.swap(**files_of(new))
    wait_served(proxy, new)


def test_a_gateway_config_file_is_read_again(start_proxy, gateway, body, tmp_path):
    """With the files that it names: one that appears later is waited for."""
    config = Plain(tmp_path / "config", gateway_yml=b"bearer_token: one")
    later = tmp_path / "later"
    later.mkdir()
    proxy = start_proxy(gateway, f"--gateway.config-file={config.gateway_yml}")

    def sent():
        assert proxy.write(body).status == 204
        return gateway.posts[-1].headers.get("Authorization")

    assert sent() == "Bearer one"
    config.swap(gateway_yml=b"bearer_token: [")
    proxy.wait_line(FAILED)
    assert sent() == "Bearer one"
    config.swap(gateway_yml=b"bearer_token_file: %s/token" % str(later).encode())
    proxy.wait_line(rf"{FAILED}.*later/token: No such file")
    (later / "token").write_text("two\n")
    until(lambda: sent() == "Bearer two", "a file that the new configuration names", SOON_S)
    (later / "token").write_text("three\n")
    until(lambda: sent() == "Bearer three", "and its changes", SOON_S)


def test_sighup_without_anything_to_read(start_proxy, gateway, proxy, body):
    proxy.send_signal(signal.SIGHUP)
    proxy.wait_line("nothing has changed")
    assert proxy.write(body).status == 204


def test_sighup_in_a_row_and_while_stopping(start_proxy, gateway, pki, body, tmp_path):
    volume = Plain(tmp_path / "listener", **files_of(pki.server))
    proxy = start_proxy(gateway, *listener_flags(volume, pki), "--shutdown-delay=300ms",
                        tls=client_context(pki.ca, pki.client))
    for _ in range(20):
        volume.write_over(**files_of(pki.ca.issue("new")))
        proxy.send_signal(signal.SIGHUP)
    assert proxy.write(body).status == 204
    proxy.send_signal(signal.SIGTERM)
    proxy.wait_line("stopping")
    for _ in range(5):
        proxy.send_signal(signal.SIGHUP)
        time.sleep(0.02)
    assert proxy.wait() == 0


def test_switching_tls_off_needs_a_restart_and_says_so(start_proxy, gateway, pki, body, tmp_path):
    text = f"tls_server_config: {{cert_file: {pki.server.cert}, key_file: {pki.server.key}}}"
    config = Plain(tmp_path / "config", web_yml=text.encode())
    proxy = start_proxy(gateway, f"--http.config={config.web_yml}", tls=client_context(pki.ca))
    config.swap(web_yml=b"{}")
    proxy.wait_line("level=warn .*only with a restart")
    assert proxy.write(body).status == 204


def test_a_workers_new_state_reaches_each_of_them(start_proxy, gateway, pki, tmp_path):
    volume = Volume(tmp_path / "listener", **files_of(pki.server))
    proxy = start_proxy(gateway, *listener_flags(volume, pki), "--workers=3",
                        "--workers.fill=0",
                        tls=client_context(pki.ca, pki.client))
    new = pki.ca.issue("new")
    volume.swap(**files_of(new))
    wait_served(proxy, new)
    time.sleep(0.1)
    assert {served(proxy) for _ in range(20)} == {new.serial}
