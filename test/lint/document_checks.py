"""Rules of the documents and of all committed text. Each check takes a Tree and returns its
findings as "path:line: text"; none is a pass."""

import os
import re
import subprocess
import sys
from urllib.parse import unquote

from tree import line_of

# Each pattern is written so that it does not match itself.
MACHINE_SPECIFIC = re.compile(
    r"/wor[k]/|\.\./share[d]\b|/home/[a-z]\w*|/User[s]/\w|[A-Z]:\\User[s]")
BINARY = (".bin", ".snappy", ".png", ".gz", ".pb")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE = re.compile(r"^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)


def machine_paths(tree):
    """No text speaks of the machine that it was written on."""
    findings = []
    for path in tree.paths:
        if path.endswith(BINARY) or path.startswith("test/corpus/"):
            continue
        text = tree.text(path)
        for match in MACHINE_SPECIFIC.finditer(text):
            findings.append(f"{path}:{line_of(text, match.start())}: {match.group()}")
    return findings


def _blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def _anchors(text):
    """Anchors of a document's headings, as renderers name them."""
    names, seen = set(), {}
    for heading in _HEADING.findall(_FENCE.sub(_blank, text)):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        slug = slug.strip().replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        names.add(slug if count == 0 else f"{slug}-{count}")
    return names


def links(tree):
    """Links between documents lead to files and headings that exist."""
    findings = []
    for path in tree.below([""], [".md"]):
        text = _CODE.sub(_blank, _FENCE.sub(_blank, tree.text(path)))
        found = [*_LINK.finditer(text), *_REFERENCE.finditer(text)]
        for match in found:
            target, _, anchor = unquote(match.group(1)).partition("#")
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            here = f"{path}:{line_of(text, match.start(1))}"
            file = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
            if not (tree.root / file).exists():
                findings.append(f"{here}: {match.group(1)} leads nowhere")
            elif anchor and file.endswith(".md") and anchor not in _anchors(tree.text(file)):
                findings.append(f"{here}: no heading #{anchor} in {file}")
    return findings


def references(tree, program):
    """docs/flags.md and docs/metrics.md say what the program says of itself."""
    command = [sys.executable, str(tree.root / "test/tools/generate-docs"), "--check", program]
    result = subprocess.run(command, cwd=tree.root, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    return [] if result.returncode == 0 else result.stdout.splitlines() or ["generate-docs failed"]
