"""Rules of the C sources that no tool knows. Each check takes a Tree and returns its findings as
"path:line: text"; none is a pass."""

import re

from tree import code_of, includes_of, line_of

# The table of layers: what each may include, itself among it.
MAY_INCLUDE = {
    "base": {"base"},
    "config": {"config", "base"},
    "wire": {"wire", "base"},
    "io": {"io", "base"},
    "server": {"server", "io", "wire", "base"},
    "upstream": {"upstream", "io", "wire", "base"},
    "flow": {"flow", "server", "upstream", "io", "wire", "config", "base"},
}
# Libraries that one layer keeps to itself. Others include one header of it, "<layer>/<layer>.h",
# in which the library does not show; all its other headers are private.
ONLY_INCLUDER = {
    "microhttpd.h": "server",
    "curl/curl.h": "upstream",
}
CLOSED = set(ONLY_INCLUDER.values())
BANNED = ("strcpy strcat strncpy strncat sprintf vsprintf strtok atoi atol alloca gmtime localtime "
          "rand sleep usleep system popen").split()
LINES_MAX = 600
UNTESTED = "test/lint/untested.txt"


def layers(tree):
    """A file of proxy/, or a unit test, includes only its own layer and lower ones."""
    findings = []
    for path in tree.below(["proxy/", "test/unit/"], [".c", ".h"]):
        match = re.match(r"(?:proxy|test/unit)/(\w+)/", path)
        layer = match.group(1) if match else None
        if layer is not None and layer not in MAY_INCLUDE:
            findings.append(f"{path}:1: {layer} is no layer: {', '.join(MAY_INCLUDE)}")
            continue
        for line, name, quoted in includes_of(tree.text(path)):
            folder = name.rpartition("/")[0]
            owner = ONLY_INCLUDER.get(name)
            if owner is not None and (layer != owner or path == f"proxy/{owner}/{owner}.h"):
                findings.append(f"{path}:{line}: <{name}> belongs to {owner}/, and not in its face")
            public = name == f"{folder}/{folder}.h"
            if quoted and folder in CLOSED and not public and (
                    layer != folder or path == f"proxy/{folder}/{folder}.h"):
                findings.append(f'{path}:{line}: "{name}" is private to {folder}/')
            if not quoted or layer is None or name.endswith(".pb-c.h"):
                continue
            if folder == "" and path.startswith("proxy/"):
                findings.append(f'{path}:{line}: "{name}" is not a full path below proxy/')
            elif folder in MAY_INCLUDE and folder not in MAY_INCLUDE[layer]:
                findings.append(f'{path}:{line}: layer {layer} may not include "{name}"')
    return findings


def unit_tests(tree):
    """Every module of a layer has a unit test; UNTESTED lists exceptions, each with its reason."""
    findings, excused = [], {}
    if UNTESTED in tree.paths:
        for number, line in enumerate(tree.text(UNTESTED).splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                path, _, reason = line.partition(": ")
                excused[path] = number
                if not reason.strip():
                    findings.append(f"{UNTESTED}:{number}: no reason given")
    for path in tree.below(["proxy/"], [".c"]):
        match = re.fullmatch(r"proxy/(\w+)/(\w+)\.c", path)
        if match is None:
            continue
        test = f"test/unit/{match.group(1)}/test_{match.group(2)}.c"
        number = excused.pop(path, None)
        if test in tree.paths and number:
            findings.append(f"{UNTESTED}:{number}: {test} exists: take the line out")
        elif test not in tree.paths and not number:
            findings.append(f"{path}:1: no unit test: {test} is missing")
    for path, number in excused.items():
        findings.append(f"{UNTESTED}:{number}: there is no {path}")
    return findings


def banned_functions(tree):
    """Functions that overflow, keep hidden state or block are not called."""
    findings = []
    pattern = re.compile(rf"\b({'|'.join(BANNED)})\s*\(")
    for path in tree.below(["proxy/", "bench/"], [".c", ".h"]):
        code = code_of(tree.text(path))
        for match in pattern.finditer(code):
            findings.append(f"{path}:{line_of(code, match.start())}: {match.group(1)}() is banned")
    return findings


def file_sizes(tree):
    """No file of proxy/ is longer than LINES_MAX lines."""
    findings = []
    for path in tree.below(["proxy/"], [".c", ".h"]):
        lines = tree.text(path).count("\n")
        if lines > LINES_MAX:
            findings.append(f"{path}:{lines}: {lines} lines, more than {LINES_MAX}")
    return findings
