"""The files that lint looks at, and C text without its comments and strings."""

import re
import subprocess
from pathlib import Path


class Tree:
    """Files of a checkout: what git tracks, and what it would track with `git add`."""

    def __init__(self, root):
        self.root = Path(root)
        listed = subprocess.run(
            ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, stdout=subprocess.PIPE).stdout.decode()
        self.paths = sorted({path for path in listed.split("\0")
                             if path and (self.root / path).is_file()})

    def below(self, folders, suffixes):
        """Paths in one of the folders ("proxy/"; "" is all) with one of the suffixes."""
        return [path for path in self.paths
                if path.startswith(tuple(folders)) and path.endswith(tuple(suffixes))]

    def scripts(self, suffix, interpreter):
        """Paths of scripts, by suffix or by the interpreter in their first line."""
        return [path for path in self.paths
                if path.endswith(suffix) or
                ("." not in path.rpartition("/")[2] and
                 re.match(rf"#!.*\b{interpreter}\b", self.first_line(path)))]

    def text(self, path):
        return (self.root / path).read_text(encoding="utf-8", errors="replace")

    def first_line(self, path):
        with open(self.root / path, encoding="utf-8", errors="replace") as file:
            return file.readline(200)


_TOKENS = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def code_of(text):
    """C text with comments and string contents blanked, line by line as before."""
    def blank(match):
        token = match.group()
        kept = "".join("\n" if char == "\n" else " " for char in token[1:-1])
        return token[0] + kept + token[-1] if token[0] in "\"'" else " " + kept + " "
    return _TOKENS.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def includes_of(text):
    """[(line, name, quoted)] of a C file's #include lines."""
    return [(line_of(text, match.start(1)), match.group(2), match.group(1) == '"')
            for match in _INCLUDE.finditer(text)]
