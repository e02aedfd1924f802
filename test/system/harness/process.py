"""A child process whose output is collected line by line and which is ended by its own pid."""

import os
import re
import shlex
import signal
import subprocess
import threading

from .waiting import PATIENCE_S

# Put before the program under test: SYSTEM_WRAPPER="valgrind -q --error-exitcode=99".
WRAPPER = shlex.split(os.environ.get("SYSTEM_WRAPPER", ""))

# Words by which a sanitizer begins its report.
_SANITIZER = re.compile(r"(Address|Leak|Thread|Memory|UndefinedBehavior)Sanitizer|runtime error:")


class Process:
    """Owner: the scenario that started it; stop() or kill() has been called when it ends."""

    def __init__(self, argv, cwd=None):
        self.argv = [str(part) for part in argv]
        self.lines = []  # of standard output and standard error, as they come
        self._changed = threading.Condition()
        self._ended_output = False
        # Should the test itself be killed, the kernel ends its children.
        self._child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *self.argv], cwd=cwd,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self):
        with self._child.stdout as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended_output = True
            self._changed.notify_all()

    @property
    def pid(self):
        return self._child.pid

    @property
    def log(self):
        return "\n".join(self.lines)

    def cpu_s(self):
        """CPU time that it has used so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def running(self):
        return self._child.poll() is None

    def send_signal(self, number):
        self._child.send_signal(number)

    def wait_line(self, pattern, timeout_s=PATIENCE_S):
        """Wait for a line that matches; return the match. The end of the process ends the wait."""
        def found():
            return next(filter(None, (re.search(pattern, line) for line in self.lines)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self._ended_output, timeout_s)
            match = found()
        assert match, f"no line {pattern!r} from {self.argv}:\n{self.log}"
        return match

    def wait(self, timeout_s=PATIENCE_S):
        """Wait for the end; return the exit code. All of the output is there then."""
        code = self._child.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def stop(self, number=signal.SIGTERM, timeout_s=PATIENCE_S):
        """Ask it to end; return its exit code. A process that does not end is killed."""
        if self.running():
            self.send_signal(number)
        try:
            return self.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end within {timeout_s:g} s: {self.argv}") from None

    def kill(self):
        if self.running():
            self._child.kill()
        self.wait()

    def assert_no_sanitizer_report(self):
        assert not _SANITIZER.search(self.log), self.log


def run(argv, timeout_s=PATIENCE_S, text=None):
    """Run a program to its end; text is its standard input. Returns code, stdout, stderr."""
    return subprocess.run([str(part) for part in argv], input=text, capture_output=True,
                          text=True, timeout=timeout_s)
