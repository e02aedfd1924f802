"""What the shim is told and what it tells: the file that shim.c maps, field by field."""

import errno
import mmap
import struct
import tempfile

# In the order of shim.c, each with the errors that it can fail with in life.
KINDS = {
    "alloc": [errno.ENOMEM],
    "read": [errno.EIO],
    "write": [errno.EIO],
    "send": [errno.ECONNRESET, errno.EPIPE],
    "recv": [errno.ECONNRESET],
    "accept": [errno.EMFILE, errno.ECONNABORTED],
    "connect": [errno.ECONNREFUSED, errno.EADDRNOTAVAIL],
    "epoll_ctl": [errno.ENOMEM, errno.ENOSPC],
    "epoll_wait": [errno.EINTR],
    "epoll_create": [errno.EMFILE],
    "eventfd": [errno.EMFILE],
    "socket": [errno.EMFILE, errno.ENOBUFS],
    "open": [errno.EMFILE, errno.ENOENT],
    "thread": [errno.EAGAIN],
}
NAMES = list(KINDS)

_FIELDS = ["armed", "kind", "first", "count", "error", "trace", "injected", "live",
           "kept"]


class Control:
    """Owner: a lane, for all of its runs; its file goes with the folder."""

    def __init__(self, folder):
        self._file = tempfile.NamedTemporaryFile(dir=folder)
        self._file.truncate(mmap.PAGESIZE)
        self._map = mmap.mmap(self._file.fileno(), mmap.PAGESIZE)
        self.path = self._file.name

    def prepare(self, point=None, trace=False):
        """Forget what was counted, and choose what is to fail once armed; None: nothing."""
        self._map[:] = bytes(mmap.PAGESIZE)
        self._set("trace", int(trace))
        if point:
            self._set("kind", NAMES.index(point.kind))
            self._set("first", point.first)
            self._set("count", point.count)
            self._set("error", point.error)

    def arm(self, armed=True):
        self._set("armed", int(armed))

    @property
    def injected(self):
        return self._get("injected")

    @property
    def live(self):
        return self._get("live")

    @property
    def kept(self):
        return self._get("kept")

    @property
    def calls(self):
        start = 8 * len(_FIELDS)
        return dict(zip(NAMES, struct.unpack_from(f"{len(NAMES)}Q", self._map, start)))

    def _set(self, field, value):
        struct.pack_into("q", self._map, 8 * _FIELDS.index(field), value)

    def _get(self, field):
        return struct.unpack_from("q", self._map, 8 * _FIELDS.index(field))[0]
