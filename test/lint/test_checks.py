"""The lint checks find what they are there to find: each on a small tree that breaks its rule, and
on one that keeps it."""

import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))

import pytest

import document_checks
import source_checks
from tree import Tree, code_of


@pytest.fixture
def tree_of(tmp_path):
    """Make a Tree of {path: text}."""
    def make(files):
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        for path, text in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return Tree(tmp_path)
    return make


@pytest.mark.parametrize("path, text", [
    ("proxy/base/log.c", '#include "config/config.h"\n'),
    ("proxy/wire/route.c", '#include "config/config.h"\n'),
    ("proxy/io/loop.h", '#  include "flow/batch.h"\n'),
    ("proxy/flow/batch.c", '#include "worker.h"\n'),
    ("proxy/flow/batch.c", '#include "batch.h"\n'),
    ("proxy/flow/batch.c", "#include <curl/curl.h>\n"),
    ("proxy/upstream/upstream.h", "#include <curl/curl.h>\n"),
    ("proxy/io/loop.c", "#include <microhttpd.h>\n"),
    ("proxy/server/server.c", "#include <curl/curl.h>\n"),
    ("proxy/server/server.h", '#include "server/private.h"\n'),
    ("proxy/flow/admin.c", '#include "upstream/sockets.h"\n'),
    ("proxy/main.c", "#include <microhttpd.h>\n"),
    ("proxy/upstream/read.c", '#include "server/server.h"\n'),
    ("proxy/extra/file.c", "\n"),
    ("test/unit/base/test_buf.c", '#include "io/loop.h"\n'),
])
def test_layers_refuses(tree_of, path, text):
    assert len(source_checks.layers(tree_of({path: text}))) == 1


def test_layers_passes(tree_of):
    assert source_checks.layers(tree_of({
        "proxy/base/buf.c": '#include "base/buf.h"\n#include <string.h>\n',
        "proxy/upstream/upstream.c": '#include "wire/verdict.h"\n#include <curl/curl.h>\n',
        "proxy/server/mhd.c": '#include <microhttpd.h>\n#include "server/private.h"\n',
        "proxy/server/private.h": "#include <microhttpd.h>\n",
        "proxy/flow/admin.c": '#include "server/server.h"\n#include "types.pb-c.h"\n',
        "proxy/main.c": '#include "worker.h"\n#include "flow/batch.h"\n',
        "test/unit/wire/test_route.c": '#include "wire/route.h"\n',
    })) == []


def test_unit_tests(tree_of):
    findings = source_checks.unit_tests(tree_of({
        "proxy/main.c": "",
        "proxy/base/tested.c": "",
        "test/unit/base/test_tested.c": "",
        "proxy/base/bare.c": "",
        "proxy/base/excused.c": "",
        "proxy/base/unexplained.c": "",
        source_checks.UNTESTED: "# a comment\n"
                                "proxy/base/excused.c: driven by the system tests\n"
                                "proxy/base/unexplained.c: \n"
                                "proxy/base/gone.c: no more\n"
                                "proxy/base/tested.c: it was hard\n",
    }))
    assert [finding.partition(" ")[0] for finding in sorted(findings)] == [
        "proxy/base/bare.c:1:", "test/lint/untested.txt:3:", "test/lint/untested.txt:4:",
        "test/lint/untested.txt:5:"]


def test_banned_functions(tree_of):
    findings = source_checks.banned_functions(tree_of({
        "proxy/a.c": '/* strcpy(a, b) */\nint x = my_atoi("system(1)"); // rand()\n'
                     "int y = nanosleep(&t, NULL);\n",
        "bench/b.c": "int x =\n    atoi (text);\n",
    }))
    assert findings == ["bench/b.c:2: atoi() is banned"]


def test_file_sizes(tree_of):
    assert len(source_checks.file_sizes(tree_of({
        "proxy/long.c": "\n" * 601, "proxy/fits.c": "\n" * 600, "bench/long.c": "\n" * 700}))) == 1


def test_code_of_keeps_lines():
    text = 'a /* b\nc */ "d\\"e" \'"\' f // g "h\ni'
    assert code_of(text).split() == ["a", '"', '"', "'", "'", "f", "i"]
    assert code_of(text).count("\n") == text.count("\n")


def test_links(tree_of):
    findings = document_checks.links(tree_of({
        "README.md": "# Title\n## What it does, in brief\n[a](docs/a.md) [b](docs/none.md)\n"
                     "[c](#what-it-does-in-brief) [d](#none) [e](docs/a.md#part) [f](docs/a.md#x)\n"
                     "`[g](none)` [h](https://example.org/none)\n```\n[i](none)\n```\n[j]: none.md\n",
        "docs/a.md": "# Part\n[up](../README.md)\n[folder](.)\n",
    }))
    assert [finding.split(": ")[0] for finding in findings] == [
        "README.md:3", "README.md:4", "README.md:4", "README.md:9"]


def test_machine_paths(tree_of):
    home = "/home" + "/somebody/src"
    assert len(document_checks.machine_paths(tree_of({
        "a.md": f"see {home}\n", "b.md": "see /proc/meminfo and /etc/agent-proxy\n"}))) == 1
