"""When are there too many calls, for one tenant or for all?

Each tenant has a bucket of calls that fills at its rate; all workers draw from the same one. And
a call that has waited for a thread longer than a prescriber waits is turned away at once, so that
a crowd is answered with "try again" quickly instead of one after the other too late.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import struct
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cds_service.tenants import Tenant

_SLOT: Final = struct.calcsize("d")


class RateLimiter:
    """How many calls each tenant has left.

    Made in the parent before workers are forked: the numbers are in memory that all of them map.
    A lock on the file behind it ends with the process that holds it, so that a killed worker
    leaves nothing locked.
    """

    def __init__(
        self, tenants: Sequence[Tenant], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        limited = [t for t in tenants if t.rate_limit_per_s is not None]
        self._slots = {tenant.id: number * _SLOT for number, tenant in enumerate(limited)}
        self._clock = clock
        self._lock = threading.Lock()  # a file's lock is the process's, not the thread's
        self._file, self._numbers = _shared(max(1, len(limited)) * _SLOT)
        weakref.finalize(self, os.close, self._file)

    def wait(self, tenant: Tenant, *, take: bool = True) -> int:
        """0: this call may go on. Otherwise the whole seconds after which to try again.

        `take`: the call is counted. Otherwise this only tells what would be.
        """
        slot = self._slots.get(tenant.id)
        if slot is None or tenant.rate_limit_per_s is None:
            return 0
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX, _SLOT, slot)
            try:
                return self._take(slot, 1 / tenant.rate_limit_per_s, tenant.burst, take=take)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _SLOT, slot)

    def _take(self, slot: int, interval: float, burst: int, *, take: bool) -> int:
        """One number a tenant: the time at which its bucket would be full again."""
        now = self._clock()
        (full,) = struct.unpack_from("d", self._numbers, slot)
        full = max(now, float(full)) + interval
        over = full - now - burst * interval
        # Sums of intervals are not exact; a millionth of one is not a call too many.
        if over > interval * 1e-6:
            return max(1, math.ceil(over))
        if take:
            struct.pack_into("d", self._numbers, slot, full)
        return 0


def _shared(size: int) -> tuple[int, mmap.mmap]:
    """A file without a name, of zeros, and its content as memory."""
    if hasattr(os, "memfd_create"):  # on no disk, so that none can be too full for it
        file = os.memfd_create("b12-cds-limits")
    else:
        file, name = tempfile.mkstemp(prefix="b12-cds-")
        Path(name).unlink()
    os.truncate(file, size)
    return file, mmap.mmap(file, size)


class Waiting:
    """How long the call that a thread has taken up had been waiting for one."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def began(self, waited_seconds: float) -> None:
        self._of_thread.seconds = waited_seconds

    @property
    def seconds(self) -> float:
        return float(getattr(self._of_thread, "seconds", 0.0))


#: Set by the server's worker, read by the routes: both are in the same process.
WAITING: Final = Waiting()
