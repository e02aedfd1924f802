"""Child processes of the demo: started, waited for, ended by their own pid, and told of when they
die early. Knows nothing of what they are."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

POLL_SECONDS = 0.1
STOP_SECONDS = 10
PR_SET_PDEATHSIG = 1
LOG_TAIL_LINES = 15


class DemoError(Exception):
    """Ends the demo with exit code 1; its text is all that the user sees."""


def find_program(name, hint):
    """Path of a program, also where only root's PATH has it."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise DemoError(f"{name} is missing: {hint}")
    return path


def choose_ports(wanted):
    """Ports to listen on, from {variable: port}; 0 becomes a free one.

    All are held until all are known, so that no two are the same."""
    held, ports = [], {}
    try:
        for variable, port in wanted.items():
            listener = socket.socket()
            held.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
                listener.listen()
            except OSError as error:
                raise DemoError(
                    f"port {port} cannot be used ({error.strerror.lower()}): "
                    f"choose another with {variable}=PORT, or {variable}=0 for any free one"
                ) from error
            ports[variable] = listener.getsockname()[1]
    finally:
        for listener in held:
            listener.close()
    return ports


def _die_with_parent():
    """In the child: not even a SIGKILL of the demo leaves it behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Children:
    """The running programs, in the order of their start."""

    def __init__(self, log_directory):
        self.log_directory = log_directory
        self.running = []  # (name, Popen, log path)

    def start(self, name, command):
        log_path = os.path.join(self.log_directory, name.replace(" ", "-") + ".log")
        with open(log_path, "wb") as log:
            # A session of its own: Ctrl-C reaches the demo alone, which ends them in order.
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.running.append((name, child, log_path))

    def check(self):
        """Raise DemoError if one has ended."""
        for name, child, log_path in self.running:
            code = child.poll()
            if code is not None:
                how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
                raise DemoError(f"{name} ended {how}; its last lines:\n{tail(log_path)}")

    def wait_until(self, what, ready, seconds, log_of=None):
        """Poll ready() until it returns something true, and return that."""
        deadline = time.monotonic() + seconds
        while True:
            self.check()
            answer = ready()
            if answer:
                return answer
            if time.monotonic() > deadline:
                logs = [path for name, _, path in self.running if log_of in (None, name)]
                lines = "\n".join(f"{os.path.basename(path)}:\n{tail(path)}" for path in logs)
                raise DemoError(f"waited {seconds} s in vain for {what}\n{lines}")
            time.sleep(POLL_SECONDS)

    def stop(self):
        """End all, the last started first. Returns {name: exit code}."""
        codes = {}
        for name, child, _ in reversed(self.running):
            if child.poll() is None:
                child.terminate()
            try:
                codes[name] = child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"{name} did not end within {STOP_SECONDS} s: killed", file=sys.stderr)
                child.kill()
                codes[name] = child.wait()
        self.running = []
        return codes


def tail(path):
    with open(path, encoding="utf-8", errors="replace") as log:
        return "".join("    " + line for line in log.readlines()[-LOG_TAIL_LINES:]).rstrip("\n")
