"""The runner counts what fails in whatever way it fails; the demo and the generator say what is
wrong. Each program that they run is a shell script of a line or two here."""

import importlib.machinery
import importlib.util
import os
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

sys.dont_write_bytecode = True

import pytest

TEST = Path(__file__).resolve().parents[1]


def load(path):
    loader = importlib.machinery.SourceFileLoader(path.name.replace("-", "_"), str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


run_tests = load(TEST / "tools" / "run-tests")
generate_docs = load(TEST / "tools" / "generate-docs")


@pytest.fixture
def runner(tmp_path):
    return run_tests.Runner(Namespace(make="make", variant="release", out=str(tmp_path),
                                      low_priority=False))


@pytest.fixture
def script(tmp_path):
    """Make a program of shell lines."""
    def make(text):
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path
    return make


@pytest.mark.parametrize("text, passed, failed", [
    ("printf '1..2\\nok 1 - a\\nok 2 - b\\n'", 2, 0),
    ("printf '1..2\\nok 1 - a\\nnot ok 2 - b\\n'; exit 1", 1, 1),
    ("printf '1..1\\nok 1 - a\\n1..1\\nok 1 - b\\n'", 2, 0),
    ("printf '1..2\\nok 1 - a\\n'", 1, 1),  # ends too early
    ("printf '1..2\\nok 1 - a\\nok 2 - b\\n'; exit 1", 2, 1),  # a leak at the end
    ("printf '1..2\\nok 1 - a\\n'; kill -SEGV $$", 1, 1),
    ("exit 0", 0, 1),  # no case at all
])
def test_unit_programs_are_counted(runner, script, text, passed, failed):
    result = runner.unit_program(script(text))
    assert (result.passed, len(result.failures)) == (passed, failed)


@pytest.mark.parametrize("text, passed, failed", [
    ("echo '3 passed, 0 failed'", 3, 0),
    ("echo 'FAIL a'; echo '    why'; echo '2 passed, 1 failed'; exit 1", 2, 1),
    ("echo '2 passed, 2 failed'; exit 1", 2, 2),
    ("echo '2 passed, 0 failed'; exit 1", 2, 1),
    ("exit 0", 1, 0),
    ("exit 3", 0, 1),
    ("kill -KILL $$", 0, 1),
])
def test_commands_are_counted(runner, script, text, passed, failed):
    result = runner.command("part", [script(text)])
    assert (result.passed, len(result.failures)) == (passed, failed)


@pytest.mark.skipif(not os.path.exists("/proc/self/autogroup"), reason="not of this kernel")
def test_low_priority_holds_among_sessions_too(runner, script):
    program = script("nice; cat /proc/self/autogroup")
    _, usual = runner.run("usual", [program])
    assert "nice 0" in usual
    _, low = runner.run("low", [program], low_priority=True)
    runner.low_priority = True
    _, all_low = runner.run("all-low", [program])
    for text in (low, all_low):
        assert text.startswith("15\n/autogroup-") and text.endswith(" nice 15\n")


def test_findings_of_a_command_are_shown(runner, script):
    result = runner.command("part", [script("echo 'FAIL one thing'; echo '    here: so'; "
                                            "echo '0 passed, 1 failed'; exit 1")])
    assert result.failures == [("one thing", "here: so")]


def test_pytest_cases_are_counted(runner, tmp_path):
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_a(): pass\n"
        "def test_b(): assert False\n"
        "def test_c(): pytest.skip('no')\n"
        "def test_d(missing): pass\n")
    result = runner.pytest("some", tmp_path)
    assert (result.passed, len(result.failures), result.skipped) == (1, 2, 1)


def test_a_folder_without_pytest_cases_fails(runner, tmp_path):
    assert len(runner.pytest("none", tmp_path).failures) == 1


def demo(**environment):
    ports = {f"DEMO_PORT_{part}": "0" for part in ("PROXY", "MEMBER", "HOST", "GATEWAY", "EXPORTER")}
    return subprocess.run([sys.executable, TEST / "demo" / "run"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60,
                          env={**os.environ, "AGENT_PROXY": "/bin/false", **ports, **environment})


def test_the_demo_names_a_busy_port_before_it_starts_anything():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        result = demo(DEMO_PORT_HOST=str(port))
    assert result.returncode == 1
    assert f"port {port} " in result.stdout and "DEMO_PORT_HOST=" in result.stdout
    assert "started" not in result.stdout


def test_the_demo_fails_when_a_part_dies(tmp_path):
    result = demo(TMPDIR=str(tmp_path))
    assert result.returncode == 1
    assert "agent-proxy ended with exit code 1" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_says_that_the_program_is_missing():
    result = demo(AGENT_PROXY="/nonexistent/agent-proxy")
    assert result.returncode == 1 and "build it with make" in result.stdout


def test_the_reference_of_flags():
    document = generate_docs.flags_document(
        "Usage: program\n\nWords.\n\nGroup one:\n"
        "  --a=X|Y      What it is, at\n               length. Default: x\n"
        "  --a.very.long.name=VALUE\n               Its help. Required.\n"
        "\nOther:\n  --[no-]b     Plain.\n")
    assert document.splitlines()[5:] == [
        "## Group one", "", "| flag | default | meaning |", "| --- | --- | --- |",
        "| `--a=X\\|Y` | `x` | What it is, at length. |",
        "| `--a.very.long.name=VALUE` | required | Its help. |", "",
        "## Other", "", "| flag | default | meaning |", "| --- | --- | --- |",
        "| `--[no-]b` |  | Plain. |"]


def test_the_reference_of_metrics():
    document = generate_docs.metrics_document(
        "# HELP a_total What a|b is.\n# TYPE a_total counter\n"
        'a_total{x="1"} 3\na_total{x="2"} 4\n'
        "# HELP b_info Built.\n# TYPE b_info gauge\n"
        'b_info{version="0.1"} 1\n')
    assert document.splitlines()[-2:] == [
        "| `a_total` | counter | `x`: `1`, `2` | What a\\|b is. |",
        "| `b_info` | gauge | `version` | Built. |"]
