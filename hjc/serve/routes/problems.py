"""Errors as answers: ``{"detail": "a sentence"}``, whatever was sent."""

import logging
import reprlib
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

logger = logging.getLogger("hjc.serve")
#: faults of one request that are told one by one
TOLD = 3
_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 60


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer. Half characters (lone surrogates), which no encoding of an answer has, are written out."""
    return JSONResponse({"detail": detail.encode("utf-8", "backslashreplace").decode()}, status, headers)


def _place(location: Sequence[Any]) -> str:
    """``texts[0]`` for ("body", "texts", 0)."""
    parts = [str(part)[:60] if isinstance(part, str) else f"[{part}]" for part in location]
    return ".".join(parts).removeprefix("body.").replace(".[", "[")


def _fault(one: dict[str, Any]) -> str:
    kind, given = one["type"], one.get("input")
    if kind == "json_invalid":
        return f"this is no JSON: {one.get('ctx', {}).get('error', one['msg'])}"
    if kind == "missing":
        return f"{_place(one['loc'])}: it is missing"
    got = _shown.repr(given)
    if tuple(one["loc"]) == ("body",) and isinstance(given, str | bytes):
        return f"the body was taken for text ({got}): send a JSON object, with content-type: application/json"
    return f"{_place(one['loc']) or 'the settings'}: got {got}. {one['msg']}"


def invalid(request: Request, error: Exception) -> JSONResponse:
    """Fields of another type, unknown ones, missing ones."""
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    told = [_fault(dict(one)) for one in faults[:TOLD]]
    more = [f"and {len(faults) - TOLD:,} more"] if len(faults) > TOLD else []
    return problem(422, "; ".join([*told, *more]))


def refused(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses; a body that cannot be read says why."""
    assert isinstance(error, HTTPException)
    cause = error.__cause__
    if isinstance(cause, OSError):  # an upload finds no room
        return failing(request, cause)
    detail = str(error.detail)
    if isinstance(cause, ValueError | RecursionError | LookupError):  # an encoding, a nesting, a number without end
        detail = f"the body cannot be read: {cause}. Send JSON in UTF-8"
    return problem(error.status_code, detail, dict(error.headers or {}) or None)


def failing(request: Request, error: Exception) -> JSONResponse:
    """A disk that is full, a file that may not be read: the server's, and it may pass."""
    logger.error("%s: %s", request.url.path, error)
    return problem(503, f"the server cannot do it now ({error}); nothing was changed: ask again", {"Retry-After": "10"})
