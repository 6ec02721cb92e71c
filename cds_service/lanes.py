"""Who does the fetching, and how is one slow server kept from taking all the hands?

A fixed number of threads, started as they are needed, that all servers share; each server has a
lane of so many of them at most. What cannot start in time is not done, and a queue that is full
takes nothing more: both are for the caller to say.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from cds_service import logs


@dataclass(frozen=True, slots=True)
class _Task:
    lane: Hashable
    run: Callable[[], None]


class Lanes:
    """`threads` at most, `per_lane` of them on one lane, `waiting` tasks in the queue."""

    def __init__(self, threads: int, per_lane: int, waiting: int, keep: float = 30.0) -> None:
        """`keep`: how many seconds a thread waits for work before it ends."""
        self._keep = keep
        self._most, self._per_lane, self._waiting = threads, per_lane, waiting
        self._change = threading.Condition()
        self._queue: deque[_Task] = deque()
        self._busy: Counter[Hashable] = Counter()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, lane: Hashable, run: Callable[[], None]) -> bool:
        """Have `run` called, soon. It must not raise. False: it will not be."""
        with self._change:
            if self._closed or len(self._queue) >= self._waiting:
                return False
            if self._idle <= len(self._queue) and self._threads < self._most:
                self._start()
            if not self._threads:
                return False
            self._queue.append(_Task(lane, run))
            self._change.notify()
        return True

    def _start(self) -> None:
        """One thread more, if the machine has one."""
        try:
            threading.Thread(target=self._work, name="fetch", daemon=True).start()
        except RuntimeError as error:
            logs.event(logging.ERROR, "fetch-without-thread", exception=error)
        else:
            self._threads += 1

    def close(self, within: float = 5.0) -> None:
        """Take nothing more and wait for the threads to end."""
        until = time.monotonic() + within
        with self._change:
            self._closed = True
            self._queue.clear()
            self._change.notify_all()
            self._change.wait_for(lambda: self._threads == 0, until - time.monotonic())

    def _work(self) -> None:
        while (task := self._next()) is not None:
            try:
                task.run()
            finally:
                with self._change:
                    self._busy[task.lane] -= 1
                    if not self._busy[task.lane]:
                        del self._busy[task.lane]
                    self._change.notify()
        with self._change:
            self._threads -= 1
            self._change.notify_all()

    def _next(self) -> _Task | None:
        with self._change:
            called = True
            while not self._closed:
                task = self._free_task()
                if task is not None:
                    self._busy[task.lane] += 1
                    return task
                if not called:
                    return None  # nothing to do for a while
                self._idle += 1
                called = self._change.wait(self._keep)
                self._idle -= 1
        return None

    def _free_task(self) -> _Task | None:
        """The first that waits and whose lane is not full."""
        for task in self._queue:
            if self._busy[task.lane] < self._per_lane:
                self._queue.remove(task)
                return task
        return None
