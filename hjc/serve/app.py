"""The service as an ASGI application: routes, errors as answers, and what is around them."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException

from hjc.serve.batching import Busy
from hjc.serve.coding import TooLarge
from hjc.serve.promotion import Worse
from hjc.serve.routes import batches, coding, desk, people
from hjc.serve.routes.access import ServiceNow
from hjc.serve.routes.problems import failing, invalid, problem, refused
from hjc.serve.schemas import Health, Problem
from hjc.serve.security import Guard
from hjc.serve.service import Full, Service
from hjc.serve.store.queue import Conflict
from hjc.serve.store.schema import Missing

logger = logging.getLogger("hjc.serve")
STATIC = Path(__file__).parent / "static"
#: statuses of answers that say what is wrong
PROBLEMS: tuple[int | str, ...] = (400, 401, 403, 404, 408, 409, 413, 415, 421, 422, 501, 503)
#: seconds after which to ask again where nothing better is known
LATER = 2


def create_app(service: Service) -> Any:
    """The application; starting and stopping it starts and stops the service."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    app = FastAPI(
        title="hjc", version=version("hjc"), lifespan=life, docs_url=None, redoc_url=None,
        description="Codes job ads to a tree of occupations, and lets people review and correct.",
    )  # fmt: skip
    app.state.service = service
    for module in (coding, people, desk, batches):
        app.include_router(module.router, responses={status: {"model": Problem} for status in PROBLEMS})
    _add_health(app, service)
    _add_errors(app, service)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.add_middleware(Guard, settings=service.settings, metrics=service.metrics)
    return app


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["health"])
    def healthz() -> Health:
        """The process lives."""
        return Health(status="ok")

    @app.get("/readyz", tags=["health"], responses={503: {"model": Health}})
    def readyz(response: Response) -> Health:
        """Models are loaded and the store answers."""
        if not service.ready:
            response.status_code = 503
            return Health(status="starting or stopping")
        with service.store.read() as connection:
            connection.exec_driver_sql("SELECT 1")
        return Health(status="ready", detail={"models": {s.name: s.version for s in service.board}})

    @app.get("/metrics", tags=["health"], response_class=Response)
    def metrics(service: ServiceNow) -> Response:
        """For Prometheus; no text and no name of a person."""
        for served in service.board:
            service.metrics.waiting.labels(served.name).set(served.batcher.waiting)
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_errors(app: FastAPI, service: Service) -> None:
    """What the user can mend is an answer with a sentence; the rest is a bug, and is logged by the server."""

    def sentence(status: int) -> Any:
        def handle(request: Request, error: Exception) -> JSONResponse:
            return problem(status, str(error))

        return handle

    def busy(request: Request, error: Exception) -> JSONResponse:
        for served in service.board:
            if served.batcher.waiting:
                service.metrics.refused.labels(served.name).inc()
        seconds = error.seconds if isinstance(error, Busy) else LATER
        return problem(503, str(error), {"Retry-After": str(max(1, round(seconds)))})

    def store_fails(request: Request, error: Exception) -> JSONResponse:
        """Locked, full, read-only, gone: the transaction was undone, and the client asks again."""
        why = getattr(error, "orig", None) or "no connection is free"
        logger.error("the store: %s", why)
        told = f"the store cannot answer ({why}); nothing was changed: ask again"
        return problem(503, told, {"Retry-After": str(LATER)})

    app.add_exception_handler(ValueError, sentence(400))
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(OSError, failing)
    app.add_exception_handler(Missing, sentence(404))
    app.add_exception_handler(FileNotFoundError, sentence(400))  # a directory that is named to be served
    app.add_exception_handler(TooLarge, sentence(413))
    app.add_exception_handler(Conflict, sentence(409))
    app.add_exception_handler(Worse, sentence(409))
    app.add_exception_handler(ImportError, sentence(501))
    app.add_exception_handler(OperationalError, store_fails)
    app.add_exception_handler(NoConnection, store_fails)
    for kind in (Busy, Full, TimeoutError):
        app.add_exception_handler(kind, busy)
