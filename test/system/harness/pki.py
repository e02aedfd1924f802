"""Certificates for the scenarios, made by openssl's command line: small keys, so that it is quick."""

import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

LOCAL = "DNS:localhost,IP:127.0.0.1"

_CA_CONFIG = """
[ca]
default_ca = all
[all]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    cert: Path
    key: Path

    @cached_property
    def serial(self):
        """As ssl.getpeercert() has it."""
        return _openssl("x509", "-in", self.cert, "-noout", "-serial").partition("=")[2].strip()

    def secret(self):
        """A line of the key that stands nowhere else."""
        return self.key.read_text().splitlines()[1]


class Authority:
    """Signs certificates. A folder of its own holds all that it makes."""

    def __init__(self, folder, name):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.cert = self.folder / "ca.pem"
        self._key = self.folder / "ca.key"
        self._count = 0
        _openssl("req", "-x509", "-days", "10", "-subj", f"/CN={name}", *_new_key(self._key),
                 "-out", self.cert)

    def issue(self, name, names=LOCAL, usage="serverAuth,clientAuth"):
        """A new pair, valid from now on. usage: "" for a certificate that does not say."""
        pair = self._pair(name)
        _openssl("req", "-x509", "-CA", self.cert, "-CAkey", self._key, "-days", "2",
                 *_subject(name, names, usage), *_new_key(pair.key), "-out", pair.cert)
        return pair

    def issue_expired(self, name, names=LOCAL):
        """A pair that was valid once."""
        pair = self._pair(name)
        request = pair.cert.with_suffix(".csr")
        config = self.folder / "ca.cnf"
        config.write_text(_CA_CONFIG.format(folder=self.folder))
        (self.folder / "index").touch()
        _openssl("req", "-new", *_subject(name, names, "serverAuth,clientAuth"),
                 *_new_key(pair.key), "-out", request)
        _openssl("ca", "-batch", "-notext", "-config", config, "-cert", self.cert,
                 "-keyfile", self._key, "-in", request, "-out", pair.cert,
                 "-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
        return pair

    def _pair(self, name):
        self._count += 1
        base = self.folder / f"{name}-{self._count}"
        return Pair(base.with_suffix(".crt"), base.with_suffix(".key"))


def _new_key(path):
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path)


def _subject(name, names, usage):
    options = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={names}",
               "-addext", "basicConstraints=critical,CA:FALSE"]
    return options + (["-addext", f"extendedKeyUsage={usage}"] if usage else [])


def _openssl(*words):
    result = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    assert result.returncode == 0, f"openssl {words}: {result.stderr}"
    return result.stdout


class Pki:
    """Two authorities, and one certificate of each kind that scenarios need."""

    def __init__(self, folder):
        self.ca = Authority(folder / "ca", "scenario CA")
        self.other_ca = Authority(folder / "other", "other CA")
        self.server = self.ca.issue("server")
        self.client = self.ca.issue("client")
        self.misnamed = self.ca.issue("misnamed", "DNS:gateway.example")
        self.expired = self.ca.issue_expired("expired")
        self.foreign = self.other_ca.issue("foreign")

    def listener_flags(self, pair=None, mutual=True):
        """Serve TLS; mutual: to who has a certificate of ours only."""
        pair = pair or self.server
        flags = [f"--server-tls-cert={pair.cert}", f"--server-tls-key={pair.key}"]
        return flags + ([f"--server-tls-client-ca={self.ca.cert}"] if mutual else [])

    def gateway_flags(self, pair=None):
        """Trust our CA, and be who the pair says."""
        flags = [f"--gateway.server-tls-client-ca={self.ca.cert}"]
        return flags + ([f"--gateway.client-tls-cert={pair.cert}",
                         f"--gateway.client-tls-key={pair.key}"] if pair else [])
