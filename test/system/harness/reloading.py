"""Files that change while the proxy runs, and what then shows of them."""

import os
import shutil
import time

from .waiting import until

SOON_S = 2.0  # within which a change is in use
READ_AGAIN = "certificates and credentials were read again"
FAILED = "reload failed, what was in use stays in use"
SUCCESSFUL = "agent_proxy_config_last_reload_successful"


class Volume:
    """Files in a folder, as Kubernetes mounts them: each is a link through ..data, which is swapped
    for another folder at once."""

    def __init__(self, folder, **contents):
        self.folder = folder
        self._count = 0
        folder.mkdir()
        self.swap(**contents)
        for name in contents:
            (folder / _file(name)).symlink_to(f"..data/{_file(name)}")

    def __getattr__(self, name):
        return self.folder / _file(name)

    def swap(self, **contents):
        self._count += 1
        version = self.folder / f"..version-{self._count}"
        version.mkdir()
        for name, content in contents.items():
            (version / _file(name)).write_bytes(content)
        (self.folder / "..data_tmp").symlink_to(version.name)
        os.rename(self.folder / "..data_tmp", self.folder / "..data")
        shutil.rmtree(self.folder / f"..version-{self._count - 1}", ignore_errors=True)


def _file(name):
    return name.replace("_", ".")


class Plain:
    """Files in a folder, each replaced by rename, or written over in place."""

    def __init__(self, folder, **contents):
        self.folder = folder
        folder.mkdir()
        self.swap(**contents)

    def __getattr__(self, name):
        return self.folder / _file(name)

    def swap(self, **contents):
        for name, content in contents.items():
            temporary = self.folder / f"{name}.new"
            temporary.write_bytes(content)
            os.rename(temporary, self.folder / _file(name))

    def write_over(self, **contents):
        for name, content in contents.items():
            (self.folder / _file(name)).write_bytes(content)


def files_of(pair):
    return {"tls_crt": pair.cert.read_bytes(), "tls_key": pair.key.read_bytes()}


def listener_flags(volume, pki):
    return [f"--server-tls-cert={volume.tls_crt}", f"--server-tls-key={volume.tls_key}",
            f"--server-tls-client-ca={pki.ca.cert}"]


def served(proxy):
    """The serial of the certificate that new connections get."""
    with proxy.client() as client:
        return client.peer_serial


def wait_served(proxy, pair):
    start_s = time.monotonic()
    until(lambda: served(proxy) == pair.serial, "the new certificate is served", SOON_S, 0.02)
    return time.monotonic() - start_s
