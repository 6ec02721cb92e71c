"""How is the service run for real?

gunicorn with threads, set up here and nowhere else: no configuration file, no GUNICORN_CMD_ARGS.
The process that owns the port is the one that was started, so signals sent to it do what they
should: SIGTERM and Ctrl-C let calls in flight finish, SIGHUP reads the tenants file again and
renews the workers. They are forked from this process, so all of them have the same reading of it.

How slow clients are kept from holding up the others: `cds_service.connections`.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gunicorn import glogging
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from cds_service import logs, metrics, web
from cds_service.application import create_app, reload_tenants, standard_services
from cds_service.connections import PatientWorker
from cds_service.settings import Settings, SettingsError
from cds_service.telemetry import tracing
from cds_service.tenants import Tenants, read_tenants
from cds_service.warm import settle_down, warm

#: Many threads, which may wait for slow clients; how many calls are worked on at the same time is
#: another number (`cds_service.connections`).
_OPTIONS: Final[dict[str, object]] = {
    "threads": 100,
    "preload_app": True,
    "keepalive": 65,  # longer than a proxy keeps its idle connections
    "timeout": 30,
    "graceful_timeout": 10,  # a call takes a second or two; a silent client is not waited for
    "max_requests": 10_000,
    "max_requests_jitter": 1000,
    "limit_request_field_size": 16_380,  # access tokens of 9 kB are real
    "control_socket_disable": True,
    "forwarded_allow_ips": "",  # forwarding headers change nothing, whoever sends them
    "forwarder_headers": "",
    "loglevel": "warning",
}

#: What the parent tells a worker to stop by.
_STOP: Final = (signal.SIGTERM, signal.SIGQUIT)


class Worker(PatientWorker):
    """A worker that stops when its parent tells it to, and only then."""

    def init_signals(self) -> None:
        super().init_signals()
        # Ctrl-C reaches the whole process group. Only the parent acts on it, by SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)


class Logger(glogging.Logger):
    """gunicorn's log as JSON lines. Requests are logged by the service itself."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(logs.JsonLines())


class Parent(Arbiter):
    """gunicorn's parent process; Ctrl-C ends it as gracefully as SIGTERM."""

    def spawn_worker(self) -> int:
        # A worker is deaf until it has set up its signals, and is told to stop only once: what
        # comes in between is held back for it, or stopping takes the whole graceful timeout.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
        try:
            return int(super().spawn_worker())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)

    def handle_int(self) -> None:
        self.handle_term()

    def reload(self) -> None:
        reload_tenants(self.app.wsgi())
        super().reload()


class Server(BaseApplication):
    """The application under gunicorn."""

    def __init__(self, settings: Settings, tenants: Tenants) -> None:
        self.settings = settings
        self.tenants = tenants
        super().__init__()

    def load_config(self) -> None:
        options = _OPTIONS | {
            "bind": self.settings.addresses,
            "workers": self.settings.workers,
            "worker_class": Worker,
            "logger_class": Logger,
            "when_ready": self.announce,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> object:
        app = create_app(self.settings, tenants=self.tenants)
        served = web.runtime(app)
        warm(served)
        served.store.before_fork()
        settle_down()
        return app

    def announce(self, _parent: Arbiter) -> None:
        """The one line on standard output: the port is open, calls are taken."""
        print(f"b12-cds is ready at {self.settings.listen_url}", flush=True)  # noqa: T201

    def run(self) -> None:
        Parent(self).run()


def check_addresses(settings: Settings) -> None:
    """Can the ports be listened on? gunicorn would try for five seconds, and say ten things.

    Raises SettingsError.
    """
    for name, port in (("PORT", settings.port), ("B12_CDS_METRICS_PORT", settings.metrics_port)):
        if port is None:
            continue
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except (OSError, UnicodeError) as error:
                raise SettingsError([_cannot_listen(name, error)]) from None


def _cannot_listen(port: str, error: Exception) -> str:
    match error:
        case OSError(errno=errno.EADDRINUSE):
            return f"{port}: in use by another process"
        case OSError(errno=errno.EACCES):
            return f"{port}: may not be listened on by this user"
        case _:
            return "HOST: is no address of this machine"


def _memory_folder() -> Path:
    """Where the numbers are kept. Not beside anything that grows: they are written as memory, and a
    process that writes to memory for which the disk has no room left is killed.
    """
    memory = Path("/dev/shm")  # noqa: S108  a folder of our own is made in it
    where = memory if os.access(memory, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="b12-cds-metrics-", dir=where))


_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_KEPT_BYTES: Final = 16 * 1024 * 1024


def _settle_memory() -> None:
    """What glibc does with memory that is free. Elsewhere there is nothing to do.

    It gives threads memory of their own, and each keeps what its largest call took: a worker would
    grow with the number of its threads. And it gives the memory of large bodies back after every
    call, to be asked for page by page in the next: so much is kept instead.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 2)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def main() -> int:
    """Serve until stopped. 2: the settings are not usable; the reasons are on standard error."""
    try:
        settings = Settings.from_environment(os.environ)
        tenants = read_tenants(settings, [service.id for service in standard_services()])
        check_addresses(settings)
        tracing(settings)  # refuses now what the application could not make later
    except SettingsError as error:
        sys.stderr.write("".join(f"b12-cds: {problem}\n" for problem in error.problems))
        return 2
    logs.configure()
    _settle_memory()
    if settings.unused:
        logs.event(logging.WARNING, "settings-not-used-yet", names=settings.unused)
    parent, directory = os.getpid(), _memory_folder()
    metrics.share(directory)
    try:
        Server(settings, tenants).run()
    finally:
        if os.getpid() == parent:  # and not in a worker that ends
            shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
