"""Checks that are other programs: clang-format, clang-tidy, cppcheck, shellcheck, pyflakes. Each
takes a Tree and returns what its program complains of, line by line; none is a pass."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

C_FOLDERS = ["proxy/", "bench/", "test/"]


def _run(tree, command):
    """Output of a command if it fails, else nothing. One that is not installed fails."""
    try:
        result = subprocess.run(command, cwd=tree.root, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        return [f"{command[0]}: {error.strerror}"]
    if result.returncode == 0:
        return []
    text = result.stdout.decode(errors="replace").replace(f"{tree.root}/", "")
    return text.splitlines() or [f"{command[0]}: exit code {result.returncode}"]


def c_format(tree):
    """C files are as clang-format leaves them. One finding a file: the first difference."""
    lines = _run(tree, ["clang-format", "--dry-run", "-Werror",
                        *tree.below(C_FOLDERS, [".c", ".h"])])
    first = {}
    for line in lines:
        match = re.match(r"(\S+?):(\d+):\d+: error: code should be clang-formatted", line)
        if match:
            first.setdefault(match.group(1), match.group(2))
    return [f"{path}:{number}: not as `make format` leaves it" for path, number in first.items()
            ] or lines


def clang_tidy(tree, flags):
    """The checks of .clang-tidy find nothing; flags are the compiler's. Not over the tests, which
    pass null and nothing on purpose, and run under the sanitizers."""
    def check(path):
        lines = _run(tree, ["clang-tidy", "--quiet", path, "--", *flags])
        return [line for line in lines if not re.fullmatch(r"\d+ (warning|error)s?.* generated\.", line)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(check, tree.below(["proxy/", "bench/"], [".c"])))
    # What is found in a header is found again with each file that includes it: once is enough.
    kept, seen, repeated = [], set(), False
    for line in (line for lines in found for line in lines):
        if re.search(r": (error|warning): ", line):
            repeated = line in seen
            seen.add(line)
        if not repeated:
            kept.append(line)
    return kept


def cppcheck(tree, flags):
    """cppcheck finds nothing; of the compiler's flags it takes the include paths and macros."""
    files = tree.below(["proxy/", "bench/"], [".c"])
    kept = [flag for flag in flags if flag.startswith(("-I", "-D"))]
    return _run(tree, [
        "cppcheck", "--quiet", "--enable=warning,performance,portability", "--inline-suppr",
        "--error-exitcode=1", "--std=c11", "--suppress=missingIncludeSystem",
        f"-j{os.cpu_count()}", *kept, *files])


def shell_scripts(tree):
    """shellcheck finds nothing."""
    return _run(tree, ["shellcheck", *tree.scripts(".sh", "(?:ba)?sh")])


def python_scripts(tree):
    """pyflakes finds nothing."""
    return _run(tree, ["pyflakes3", *tree.scripts(".py", "python3")])
