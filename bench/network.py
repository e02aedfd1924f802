"""A network of the benchmark's own: a namespace with nothing in it but loopback.

Who else uses the machine's loopback, what filters it and which congestion control the machine has
chosen is then no part of what is measured. Needs root; enter() says what was to be had.
"""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import socket
import struct

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
CONGESTION_CONTROL = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
USUAL = ("cubic", "reno")  # what Linux comes with; a kernel may keep it from namespaces


def enter():
    """Move this process, and so all that it starts, into a network of its own.

    Returns a line for the results. Where that is not allowed nothing changes.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        raise_loopback()
    except OSError as error:
        libc.setns(before, CLONE_NEWNET)
        return f"the machine's loopback, {congestion_control()} ({error.strerror}: none of its own)"
    finally:
        os.close(before)
    for name in USUAL:
        with contextlib.suppress(OSError):
            CONGESTION_CONTROL.write_text(name)
            break
    return f"loopback of its own, {congestion_control()}"


def raise_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def congestion_control():
    return CONGESTION_CONTROL.read_text().strip()
