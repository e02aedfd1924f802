"""The command line: what it takes, and one clear line for what it does not."""

import re
import socket

import pytest

from harness import wire
from harness.client import Client
from harness.process import Process, run
from harness.proxy import BINARY, TENANT

NEEDED = ["--gateway.address=http://127.0.0.1:1", f"--tenant={TENANT}"]
FLAGS = ["gateway.address", "tenant", "tenant.header", "tenant.path-prefix", "gateway.write-path",
         "http-address", "http-grace-period", "log.level", "log.format", "workers", "workers.fill",
         "gateway.max-inflight", "gateway.timeout", "batch.max-bytes", "batch.max-decoded-bytes",
         "batch.max-requests", "batch.linger", "limits.body-bytes", "limits.decoded-bytes"]


def refused(arguments, *words):
    """Exit code 2 and one line on standard error that has all the words."""
    result = run([BINARY, *arguments])
    assert result.returncode == 2, result
    assert result.stdout == ""
    assert result.stderr.endswith("\n") and result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr, f"{word!r} is not in {result.stderr!r}"


def test_help_names_every_flag():
    result = run([BINARY, "--help"])
    assert result.returncode == 0 and result.stderr == ""
    for flag in FLAGS:
        assert re.search(rf"^ *--(\[no-\])?{re.escape(flag)}\b", result.stdout, re.M), flag
    for default in ("0.0.0.0:9090", "WHIZARD-TENANT", "/api/v1/receive", "2m", "32MiB"):
        assert default in result.stdout


def test_version_is_one_line():
    result = run([BINARY, "--version"])
    assert result.returncode == 0 and result.stderr == ""
    assert re.fullmatch(r"agent-proxy.*\n", result.stdout)


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_needs_a_value(flag):
    if flag == "tenant.path-prefix":
        pytest.skip("a boolean needs none")
    refused([*NEEDED, f"--{flag}"], f"--{flag}")


@pytest.mark.parametrize("arguments, words", [
    (["--tenant=a"], ["--gateway.address"]),
    (["--gateway.address=http://127.0.0.1:1"], ["--tenant"]),
    ([*NEEDED, "--no-such-flag=1"], ["--no-such-flag", "unknown"]),
    ([*NEEDED, "--no-such-flag"], ["--no-such-flag", "unknown"]),
    ([*NEEDED, "surplus"], ["surplus"]),
    ([*NEEDED, "-t"], ["-t"]),
], ids=str)
def test_what_is_missing_or_unknown(arguments, words):
    refused(arguments, *words)


@pytest.mark.parametrize("flag, value", [
    ("gateway.address", ""), ("gateway.address", "host:80"), ("gateway.address", "ftp://host"),
    ("gateway.address", "http://"), ("gateway.address", "http://host:99999"),
    ("gateway.address", "http://user:secret@host"), ("gateway.address", "http://host/?a=b"),
    ("gateway.address", "http://host/#f"), ("gateway.address", "http://ho st"),
    ("gateway.address", "http://host/../up"),
    ("tenant", ""), ("tenant", "."), ("tenant", ".."), ("tenant", "a/b"), ("tenant", "a b"),
    ("tenant", "x" * 65), ("tenant", "a\r\nX: y"), ("tenant", "\u00e4"),
    ("tenant.header", ""), ("tenant.header", "a b"), ("tenant.header", "a:"),
    ("tenant.header", "Host"), ("tenant.header", "content-length"),
    ("tenant.path-prefix", "perhaps"),
    ("gateway.write-path", "api"), ("gateway.write-path", "/a/../b"),
    ("http-address", "127.0.0.1"), ("http-address", "127.0.0.1:http"),
    ("http-address", "127.0.0.1:65536"),
    ("http-grace-period", "2"), ("http-grace-period", "-1s"), ("http-grace-period", "soon"),
    ("gateway.timeout", "0s"), ("gateway.timeout", "20"),
    ("log.level", "loud"), ("log.format", "xml"),
    ("workers", "-1"), ("workers", "two"), ("workers", "1.5"), ("workers", "100000"),
    ("gateway.max-inflight", "0"), ("gateway.max-inflight", "99999999999999999999"),
    ("batch.max-requests", "0"), ("batch.max-bytes", "0"), ("batch.max-bytes", "1 MiB"),
    ("batch.max-decoded-bytes", "many"), ("batch.linger", "x"),
    ("limits.body-bytes", "0"), ("limits.decoded-bytes", "-1"),
])
def test_a_bad_value_is_named_and_explained(flag, value):
    refused([*NEEDED, f"--{flag}={value}"], f"--{flag}")


def test_a_password_in_the_gateways_address_is_not_printed():
    result = run([BINARY, *NEEDED, "--gateway.address=http://user:hunter2@host"])
    assert result.returncode == 2
    assert "hunter2" not in result.stderr


@pytest.mark.parametrize("quote", ['"', "'"])
def test_the_guides_manifest_works_as_printed(gateway, start_proxy, quote):
    """Its quotes are part of a plain YAML scalar, so they reach the program."""
    proxy = start_proxy(f"{quote}{gateway.url}{quote}", tenant=f"{quote}cluster-1{quote}")

    assert proxy.write(wire.body(wire.series("up", 1.0))).status == 204
    assert gateway.posts[0].target == "/cluster-1/api/v1/receive"


def test_a_value_may_be_the_next_argument(gateway, start_proxy):
    proxy = start_proxy(gateway, "--tenant", "spaced", "--gateway.write-path", "/w",
                        "--batch.max-requests", "1")

    assert proxy.write(wire.body(wire.series("up", 1.0))).status == 204
    assert gateway.posts[0].target == "/spaced/w"


def test_the_last_of_a_repeated_flag_wins(gateway, start_proxy):
    proxy = start_proxy(gateway, "--tenant=first", "--tenant=last")

    assert proxy.write(wire.body(wire.series("up", 1.0))).status == 204
    assert gateway.posts[0].target == "/last/api/v1/receive"


def cannot_listen(port):
    """Exit code 1 and a line that names the address and says that it is in use."""
    result = run([BINARY, *NEEDED, f"--http-address=127.0.0.1:{port}"])
    assert result.returncode == 1, result
    lines = [line for line in result.stderr.splitlines() if "in use" in line]
    assert len(lines) == 1, result.stderr
    assert "127.0.0.1" in lines[0] and str(port) in lines[0]


def test_a_busy_port_is_a_clear_message():
    with socket.create_server(("127.0.0.1", 0)) as other:
        cannot_listen(other.getsockname()[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_busy_with_another_proxy_is_a_clear_message(gateway, start_proxy, workers):
    """Two programs never share a port in silence."""
    proxy = start_proxy(gateway, f"--workers={workers}")
    result = run([BINARY, *NEEDED, f"--workers={workers}",
                  "--http-address=%s:%d" % proxy.address])
    assert result.returncode == 1
    assert "in use" in result.stderr


def test_an_address_that_is_not_ours_is_a_clear_message():
    result = run([BINARY, *NEEDED, "--http-address=192.0.2.1:9090"])
    assert result.returncode == 1
    assert [line for line in result.stderr.splitlines()
            if "192.0.2.1" in line and "assign" in line]


def test_any_free_port_can_be_taken_and_is_told():
    child = Process([BINARY, *NEEDED, "--http-address=127.0.0.1:0"])
    try:
        port = int(child.wait_line(r"127\.0\.0\.1:([1-9]\d+)")[1])
        with Client(("127.0.0.1", port)) as client:
            assert client.request("GET", "/-/healthy").status == 200
    finally:
        assert child.stop() == 0
