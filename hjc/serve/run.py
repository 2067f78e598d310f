"""Running the service in this process until it is told to stop."""

import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from hjc.errors import check_range
from hjc.serve.settings import ServeSettings

#: what the extra ``serve`` installs, as it is imported
NEEDED = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "prometheus_client", "python_multipart")
#: seconds that open requests are given when the service stops
GRACE = 60
#: connections that wait until they are taken
BACKLOG = 2048
#: seconds that an idle connection is kept: longer than proxies keep theirs, so that none is closed under a request
KEPT = 75


def check_installed() -> None:
    """Raise ModuleNotFoundError, before anything is loaded, where the extra is missing."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ModuleNotFoundError(f'hjc serve needs {", ".join(missing)}: pip install "hjc[serve]"')


def named_directories(given: Sequence[str]) -> dict[str, str]:
    """``e5=outputs/e5 outputs/linear`` -> {"e5": "outputs/e5", "linear": "outputs/linear"}.

    Raises:
        ValueError: no directory, or two of one name.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or "/" in name or Path(text).is_dir():
            name, path = Path(text).resolve().name, text
        if name in found:
            raise ValueError(f"two models are called {name!r}: give names, such as first={found[name]} second={path}")
        found[name] = path
    check_range("RUN_DIR", len(found), bool(found), "one model directory or more")
    return found


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises OSError with what to do where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)  # from here on who comes waits, and is not turned away
    except OSError as error:
        bound.close()
        raise OSError(f"--port {port}: cannot listen on {host} ({error.strerror}); give another --port") from None
    return bound


def promote_from_here(
    run_dirs: Sequence[str], store: str, new: str, say: Callable[[str], None] = lambda line: None
) -> None:
    """``hjc serve RUN_DIR --promote NEW``: compare, and keep in the store that NEW is served from now on.

    A service that runs on the store takes it up within half a minute.

    Raises:
        Worse: it is worse on the audited ads, or they cannot tell.
    """
    check_installed()
    from hjc.serve.promotion import promote, promoted
    from hjc.serve.store.database import Store

    ((name, given),) = named_directories(run_dirs[:1]).items()
    opened = Store(store)
    found = promote(opened, name, promoted(opened, name) or given, new)
    opened.close()
    say(f"{found}. {new} is served by {name} from now on")


def run(
    run_dirs: Sequence[str],
    store: str,
    settings: ServeSettings,
    *,
    retention_days: float | None = None,
    ads: Sequence[str] = (),
    open_page: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Load, listen, answer; return when a signal came and open requests are answered.

    Raises:
        ModuleNotFoundError: the extra ``serve`` is missing. OSError: the port is taken. Others as :func:`hjc.load`.
    """
    check_installed()
    import uvicorn

    from hjc.serve.app import create_app
    from hjc.serve.intake import take_in_once
    from hjc.serve.service import Service

    directories = named_directories(run_dirs)
    bound = listen(settings.host, settings.port)
    with bound:
        service = Service(directories, store, settings, retention_days=retention_days)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        for served in service.board:
            say(f"model {served.name}: {served.classifier.taxonomy!r}, version {served.version}")
        for note in service.notes:
            say(note)
        say(f"store: {service.store.label}")
        config = uvicorn.Config(
            create_app(service), log_level="warning", access_log=False, server_header=False,
            timeout_graceful_shutdown=GRACE, timeout_keep_alive=KEPT,
        )  # fmt: skip
        address = f"http://{host}:{bound.getsockname()[1]}/"
        for name in ads:
            say(take_in_once(service, name))
        say(f"{address} (Ctrl-C stops)")
        if open_page:
            threading.Timer(1.0, webbrowser.open, [address]).start()
        uvicorn.Server(config).run(sockets=[bound])
        say("stopped")
