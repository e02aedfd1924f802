"""`make install`: where the files go, that the unit's command and settings start the program, and
that completion offers what there is."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("AGENT_PROXY", str(ROOT / "build/release/agent-proxy"))
# Less is tighter; systemd-analyze calls up to 2 "OK". Of what is left, the network is most.
EXPOSURE_MAX = 20


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    # -o all: the program is there; only its installation is looked at.
    subprocess.run(["make", "-o", "all", "install", f"DESTDIR={root}", "PREFIX=/usr",
                    f"OUT={os.path.dirname(os.path.relpath(PROGRAM, ROOT))}"],
                   cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "MAKEFLAGS": ""})
    return root


def test_files_are_where_they_belong(installed):
    found = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert found == {"usr/bin/agent-proxy", "usr/share/man/man8/agent-proxy.8",
                     "usr/share/bash-completion/completions/agent-proxy",
                     "usr/lib/systemd/system/agent-proxy.service", "etc/default/agent-proxy"}


def test_settings_that_are_there_stay(installed):
    settings = installed / "etc/default/agent-proxy"
    old = settings.read_text(encoding="utf-8")
    settings.write_text("AGENT_PROXY_TENANT=mine\n", encoding="utf-8")
    subprocess.run(["make", "-o", "all", "install", f"DESTDIR={installed}", "PREFIX=/usr",
                    f"OUT={os.path.dirname(os.path.relpath(PROGRAM, ROOT))}"],
                   cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "MAKEFLAGS": ""})
    assert settings.read_text(encoding="utf-8") == "AGENT_PROXY_TENANT=mine\n"
    settings.write_text(old, encoding="utf-8")


def test_the_units_command_takes_its_settings(installed):
    """The command of the unit, in the environment of its file, with the two settings filled in."""
    unit = (installed / "usr/lib/systemd/system/agent-proxy.service").read_text(encoding="utf-8")
    assert "@" not in re.sub(r"@(system-service|privileged|resources)", "", unit)
    file = re.search(r"^EnvironmentFile=(.*)$", unit, re.MULTILINE).group(1)
    lines = (installed / file.lstrip("/")).read_text(encoding="utf-8").splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
    environment |= {"AGENT_PROXY_GATEWAY_ADDRESS": "http://g.test:1", "AGENT_PROXY_TENANT": "t"}
    command, argument = re.search(r"^ExecStart=(\S+) (.*)$", unit, re.MULTILINE).groups()
    assert argument == "$FLAGS" and environment["FLAGS"] == ""
    result = subprocess.run([installed / command.lstrip("/"), "--config.check"], env=environment,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout
    assert 'gateway.address: "http://g.test:1"' in result.stdout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_finds_the_unit_tight(installed, tmp_path):
    text = (installed / "usr/lib/systemd/system/agent-proxy.service").read_text(encoding="utf-8")
    unit = tmp_path / "agent-proxy.service"
    unit.write_text(text.replace("/usr/bin/agent-proxy", "/bin/true"), encoding="utf-8")
    result = subprocess.run(["systemd-analyze", "security", "--offline=true",
                             f"--threshold={EXPOSURE_MAX}", unit], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 0, result.stdout + result.stderr
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    complaints = [line for line in result.stdout.splitlines() if "agent-proxy.service" in line]
    assert complaints == []


@pytest.mark.parametrize("words, offered", [
    (["--log"], {"--log.level=", "--log.format="}),
    (["--log.level", "=", "d"], {"debug"}),
    (["--log.format", ""], {"logfmt", "json"}),
    (["--no-tenant"], {"--no-tenant.path-prefix"}),
    (["--prob"], {"--probe="}),
    (["--vers"], {"--version"}),
])
def test_completion_offers(words, offered):
    script = ('source manifests/agent-proxy.bash; compopt() { :; }; COMP_WORDS=("$@"); '
              'COMP_CWORD=$(($# - 1)); _agent_proxy; printf "%s\\n" "${COMPREPLY[@]}"')
    text = subprocess.run(["bash", "-c", script, "bash", PROGRAM, *words], cwd=ROOT, check=True,
                          text=True, stdout=subprocess.PIPE).stdout
    assert set(text.split()) == offered


@pytest.mark.skipif(not shutil.which("man"), reason="man is not installed")
def test_the_manual_page_has_no_mistakes():
    result = subprocess.run(["man", "-l", "--warnings", ROOT / "docs/agent-proxy.8"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert result.stderr == ""
    for heading in ("NAME", "SYNOPSIS", "OPTIONS", "ENVIRONMENT", "SIGNALS", "EXIT STATUS"):
        assert f"\n{heading}\n" in result.stdout
