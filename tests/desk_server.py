"""A desk in a process of its own, a browser on it, and a PostgreSQL: what ``make test-more`` has and others may not."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path
from typing import Any

import pytest

from tests.serve_client import MODEL

HOW = "make test-more has what it needs; its browser and database: apt-get install chromium postgresql"


def chromium() -> str:
    """The browser's program; skips the test where there is none, or no playwright."""
    pytest.importorskip("playwright", reason=f"no playwright: {HOW}")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip(f"no Chromium: {HOW}")
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """A playwright browser without a window."""
    program = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield found
        found.close()


class Server:
    """``hjc serve`` as users start it. ``kill`` is kill -9; ``start`` again takes the same store and port."""

    def __init__(self, store: str | Path, *options: str, model: str | Path = MODEL) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "hjc.cli", "serve", str(model), "--store", str(store),
                        "--port", str(self.port), *options]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE)
        for _ in range(1800):
            if self.process.poll() is not None:
                assert self.process.stderr is not None
                raise AssertionError(f"the server did not start: {self.process.stderr.read().decode()}")
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return self
            time.sleep(0.1)
        self.kill()
        raise AssertionError("the server did not start within three minutes")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> tuple[int, str]:
        """SIGTERM: the exit code and what it said."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said.decode()


@contextmanager
def desk(store: str | Path, *options: str, model: str | Path = MODEL) -> Iterator[Server]:
    """A started server, stopped at the end."""
    server = Server(store, *options, model=model).start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of an empty database on a PostgreSQL of one's own; skips where there is none."""
    pytest.importorskip("psycopg", reason=f"no psycopg: {HOW}")
    programs = os.pathsep.join([os.environ.get("PATH", ""), *sorted(glob("/usr/lib/postgresql/*/bin"))[::-1]])
    initdb, pg_ctl = (shutil.which(name, path=programs) for name in ("initdb", "pg_ctl"))
    if initdb is None or pg_ctl is None:
        pytest.skip(f"no PostgreSQL: {HOW}")
    who: dict[str, Any] = {}
    # not below pytest's own folders, which only their owner may enter; and a socket's path must be short
    folder = Path(tempfile.mkdtemp(prefix="hjc-pg-"))
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        who = {"user": "postgres", "group": "postgres"}
        shutil.chown(folder, "postgres", "postgres")
    data, log = folder / "data", folder / "log"
    run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **who}
    subprocess.run([initdb, "-D", data, "-U", "hjc", "-A", "trust", "-E", "UTF8", "--no-sync"], **run)
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    subprocess.run([pg_ctl, "-D", data, "-l", log, "-w", "-o", options, "start"], **run)
    try:
        yield f"postgresql://hjc@/postgres?host={folder}"
    finally:
        subprocess.run([pg_ctl, "-D", data, "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder)
