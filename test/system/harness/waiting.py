"""Waiting for a thing to become true, with an end."""

import threading
import time
from concurrent.futures import Future

# [s] No single event of a scenario takes longer, sanitizers and a busy machine included.
PATIENCE_S = 20.0


def until(condition, what, timeout_s=PATIENCE_S, pause_s=0.01):
    """Ask condition() until it returns something true, and return that.

    For what can only be asked and not awaited: another process's state.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(pause_s)


def in_background(function, *args, **kwargs):
    """Run the function in a thread of its own; its result or exception is in the future."""
    future = Future()

    def run():
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # handed on to whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def results(futures, timeout_s=PATIENCE_S):
    """The results of the futures, in their order, all within one timeout."""
    deadline = time.monotonic() + timeout_s
    return [future.result(max(0.01, deadline - time.monotonic())) for future in futures]
