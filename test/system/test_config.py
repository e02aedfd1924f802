"""The flags of the Go agent-proxy, settings from files and the environment, and --config.check."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from harness import wire
from harness.client import Client
from harness.process import WRAPPER, Process
from harness.proxy import BINARY

DOCS = Path(__file__).resolve().parents[2] / "docs"
NEEDED = ["--gateway.address=http://127.0.0.1:1", "--tenant=t"]
HASH = "$2y$10$abcdefghijklmnopqrstuuJ8Gx1ZQ3NnVxdkZ3cKfJZqwm1fYb1./"


def table():
    """{flag: its fate} of docs/go-flags.md."""
    rows = re.findall(r"^\| `--([\w.-]+)` \| ([^|]*) \|", (DOCS / "go-flags.md").read_text(), re.M)
    assert len(rows) > 15
    return dict(rows)


def run(*arguments, environment=(), cwd=None):
    """Run to its end, in an environment without settings but those given."""
    clean = {key: value for key, value in os.environ.items()
             if not key.startswith("AGENT_PROXY_")}
    return subprocess.run([*WRAPPER, BINARY, *map(str, arguments)], cwd=cwd,
                          env={**clean, **dict(environment)}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)


def check(*arguments, **options):
    """The settings that --config.check prints: {flag: (value, source)}."""
    result = run(*arguments, "--config.check", **options)
    assert result.returncode == 0 and result.stderr == "", result
    return dict(setting(line) for line in result.stdout.splitlines()
                if line and not line.startswith("# ") or "<secret>" in line)


def setting(line):
    name, value, source = re.fullmatch(r"(?:# )?([\w.-]+): (.*) # (.*)", line).groups()
    return name, (value.strip('"'), source)


def refused(*arguments, **options):
    """The line of a refusal by --config.check, which is the same at a start."""
    lines = []
    for words in ([*arguments, "--config.check"], arguments):
        result = run(*words, **options)
        assert result.returncode == 2 and result.stdout == "", result
        assert result.stderr.startswith("agent-proxy: ") and result.stderr.count("\n") == 1
        lines.append(result.stderr)
    assert lines[0] == lines[1]
    return lines[0]


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with certificates and configurations, by name."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("own", "other"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (folder / "web.yml").write_text(f"basic_auth_users:\n  prometheus: {HASH}\n")
    (folder / "token").write_text("file-token\n")
    (folder / "gateway.yml").write_text("bearer_token_file: token\n")
    return folder


def values(files):
    """A good value of each flag, and what else it then needs."""
    own = {"server-tls-cert": files / "own.crt", "server-tls-key": files / "own.key"}
    client = {"gateway.client-tls-cert": files / "own.crt",
              "gateway.client-tls-key": files / "own.key"}
    return {
        "gateway.address": ("https://gateway.example:9090", {}),
        "tenant": ("member-1", {}),
        "http-address": ("127.0.0.1:9999", {}),
        "http-grace-period": ("1m30s", {}),
        "log.level": ("warn", {}),
        "log.format": ("json", {}),
        "http.config": (files / "web.yml", {}),
        "server-tls-cert": (own["server-tls-cert"], own),
        "server-tls-key": (own["server-tls-key"], own),
        "server-tls-client-ca": (files / "other.crt", own),
        "gateway.client-tls-cert": (client["gateway.client-tls-cert"], client),
        "gateway.client-tls-key": (client["gateway.client-tls-key"], client),
        "gateway.server-tls-client-ca": (files / "other.crt", {}),
        "gateway.server-name": ("gateway.example", {}),
        "gateway.insecure-skip-verify": ("true", {}),
        "gateway.config": ("bearer_token: hunter2", {}),
        "gateway.config-file": (files / "gateway.yml", {}),
        "maxIdleConnsPerHost": ("7", {}),
        "maxConnsPerHost": ("8", {}),
    }


@pytest.mark.parametrize("flag", table())
def test_every_flag_of_the_go_program(files, flag):
    if flag in ("help", "version"):
        assert run(f"--{flag}").returncode == 0
        return
    assert table()[flag] == "the same"
    value, also = values(files)[flag]
    others = [*NEEDED, *(f"--{name}={path}" for name, path in also.items() if name != flag)]
    shown = "<secret>" if flag == "gateway.config" else str(value)
    spellings = [[f"--{flag}={value}"], [f"--{flag}", value], [f'--{flag}="{value}"']]
    if flag == "gateway.insecure-skip-verify":
        spellings.append([f"--{flag}"])
        assert check(*others, f"--no-{flag}")[flag] == ("false", "flag")
    for words in spellings:
        assert check(*others, *words)[flag] == (shown, "flag"), words
        assert check("agent-proxy", *others, *words)[flag] == (shown, "flag"), words


def test_the_program_has_a_value_for_every_row(files):
    assert set(table()) - {"help", "version"} == set(values(files))


def starts(*arguments):
    """Start with these very arguments; it says that it has started, and ends well."""
    child = Process([*WRAPPER, BINARY, *arguments])
    try:
        child.wait_line("agent-proxy started")
    finally:
        assert child.stop() == 0
    return child.log


def test_the_guides_deployment_starts():
    """Its quotes are part of a plain YAML scalar; only the address to listen on is ours."""
    log = starts('--gateway.address="http://172.16.0.1:30990"', '--tenant="member-1"',
                 "--http-address=127.0.0.1:0")
    assert "gateway=http://172.16.0.1:30990" in log and "tenant=member-1" in log


def test_the_whizard_charts_arguments_start():
    starts("agent-proxy", "--gateway.address=http://gateway-whizard-operated.example.svc:9090",
           "--tenant=member-1", "--log.level=info", "--log.format=logfmt",
           "--http-address=127.0.0.1:0", "--http-grace-period=2m", "--maxIdleConnsPerHost=100")


def test_a_configuration_as_a_block_of_a_manifest():
    """Manifests write flag and YAML as one block scalar: blanks and a line end come first."""
    settings = check(*NEEDED, "--gateway.config=      \n"
                              "    basic_auth:\n"
                              "      username: \"admin\"\n"
                              "      password: \"hunter2\"\n"
                              "    tls_config:\n"
                              "      insecure_skip_verify: true\n"
                              "    transport_config:\n"
                              "      max_idle_conns_per_host: 100\n")
    assert settings["gateway.config"] == ("<secret>", "flag")


def test_a_flag_is_stronger_than_the_environment_than_the_file(tmp_path):
    file = tmp_path / "settings.yml"
    file.write_text("gateway.address: http://file\ntenant: file\nworkers: 3\nlog.level: debug\n")
    settings = check(f"--config.file={file}", "--workers=1",
                     environment={"AGENT_PROXY_TENANT": "environment",
                                  "AGENT_PROXY_WORKERS": "2",
                                  "AGENT_PROXY_MAX_CONNS_PER_HOST": "9",
                                  "AGENT_PROXY_PORT": "tcp://10.0.0.1:9090"})
    assert settings["gateway.address"] == ("http://file", f"{file}:1")
    assert settings["log.level"] == ("debug", f"{file}:4")
    assert settings["tenant"] == ("environment", "environment: AGENT_PROXY_TENANT")
    assert settings["maxConnsPerHost"][0] == "9"
    assert settings["workers"] == ("1", "flag")
    assert settings["batch.linger"] == ("0s", "default")
    result = check(environment={"AGENT_PROXY_CONFIG_FILE": str(file)})
    assert result["workers"] == ("3", f"{file}:3")


def test_what_is_printed_is_taken_again(files, tmp_path):
    words = ["--gateway.address=https://[::1]:8443/base", "--tenant=t", "--no-tenant.path-prefix",
             f"--http.config={files / 'web.yml'}", "--batch.linger=1500us"]
    first = run("--config.check", *words)
    file = tmp_path / "settings.yml"
    file.write_text(first.stdout)
    again = run("--config.check", f"--config.file={file}")
    assert again.returncode == 0, again
    strip = re.compile(r" # .*")
    assert strip.sub("", again.stdout) == strip.sub("", first.stdout)


@pytest.mark.parametrize("text, words", [
    ("tenent: x\n", ["settings.yml:1", "tenent", "did you mean tenant"]),
    ("tenant: a\ntenant: b\n", ["settings.yml:2", "tenant", "twice"]),
    ("workers: [1]\n", ["settings.yml:1", "workers", "one value"]),
    ("\nworkers: many\n", ["settings.yml:2", "workers", "many", "whole number"]),
    ("config.file: x\n", ["settings.yml:1", "config.file"]),
    ("config.check: true\n", ["settings.yml:1", "config.check"]),
    ("a: b: c\n", ["settings.yml:1"]),
], ids=str)
def test_a_mistake_in_the_file_is_found(tmp_path, text, words):
    file = tmp_path / "settings.yml"
    file.write_text(text)
    line = refused(*NEEDED, f"--config.file={file}")
    assert all(word in line for word in words), line


def test_a_mistake_in_the_environment_is_found():
    line = refused(*NEEDED, environment={"AGENT_PROXY_GATEWAY_TIMEOUT": "soon"})
    assert "AGENT_PROXY_GATEWAY_TIMEOUT" in line and "soon" in line


@pytest.mark.parametrize("flags, words", [
    (["server-tls-cert=own.crt"], ["--server-tls-cert", "--server-tls-key"]),
    (["server-tls-cert=own.crt", "server-tls-key=other.key"], ["own.crt", "not belong together"]),
    (["server-tls-cert=own.crt", "server-tls-key=none"], ["--server-tls-key", "No such file"]),
    (["server-tls-cert=own.key", "server-tls-key=own.key"], ["--server-tls-cert", "no certif"]),
    (["gateway.client-tls-key=own.key"], ["--gateway.client-tls-key", "without its certificate"]),
    (["gateway.server-tls-client-ca=own.key"], ["--gateway.server-tls-client-ca", "no certif"]),
    (["http.config=token"], ["--http.config: token:1"]),
    (["gateway.config-file=token"], ["--gateway.config-file: token:1"]),
    (["gateway.config=basic_auth: {username: u, password: \"hunter2\\t\"}"], ["line 1: password"]),
    (["gateway.config=bearer_token: ${NO_SUCH_NAME}"], ["NO_SUCH_NAME is not set"]),
    (["gateway.config={}", "gateway.config-file=gateway.yml"], ["--gateway.config-file"]),
], ids=str)
def test_a_mistake_in_what_the_settings_name_is_found(files, flags, words):
    line = refused(*NEEDED, *(f"--{flag}" for flag in flags), cwd=files)
    assert all(word in line for word in words), line
    assert "hunter2" not in line and "file-token" not in line


def test_secrets_are_not_printed(files):
    result = run(*NEEDED, "--config.check", "--gateway.config=bearer_token: hunter2")
    assert result.returncode == 0 and "hunter2" not in result.stdout + result.stderr


def test_settings_from_a_file_serve(gateway, tmp_path):
    file = tmp_path / "settings.yml"
    file.write_text(f"gateway.address: {gateway.url}\ntenant: from-file\n"
                    "http-address: 127.0.0.1:0\n")
    child = Process([*WRAPPER, BINARY, f"--config.file={file}"])
    try:
        port = int(child.wait_line(r"address=\S*127\.0\.0\.1:([1-9]\d+)")[1])
        with Client(("127.0.0.1", port)) as client:
            assert client.write(wire.body(wire.series("up", 1.0))).status == 204
    finally:
        assert child.stop() == 0
    assert gateway.posts[0].target == "/from-file/api/v1/receive"
