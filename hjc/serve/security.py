"""Who may ask: the Host header, the origin of a page, tokens and sessions, sizes; and headers of every answer."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from hjc.serve.metrics import Metrics
from hjc.serve.settings import LOOPBACK, ServeSettings

COOKIE = "hjc_session"
#: a page of ours sends it with every change; a foreign page cannot without asking first, which is never allowed
CSRF_HEADER = "x-hjc-request"
#: an uploaded table may take so many times as long to arrive as other bodies
UPLOAD_PATIENCE = 10
SAFE = ("GET", "HEAD", "OPTIONS")
#: methods that are counted by their names
METHODS = (*SAFE, "POST", "PUT", "PATCH", "DELETE")
#: answered however much is under way, and counted as nothing under way (as the page and its files are)
HEALTH = ("/healthz", "/readyz", "/metrics")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Refused(HTTPException):
    """An answer instead of the one that was asked for. Of the kind that who reads a body lets through."""


def too_large(most: int) -> Refused:
    return Refused(413, f"the body is larger than {most:,} bytes: send less at a time", {"connection": "close"})


def allowed_hosts(settings: ServeSettings) -> set[str]:
    """Host names by which the service may be called."""
    own = {settings.host, *settings.hosts}
    return {name.lower() for name in (own | {*LOOPBACK} if settings.host in (*LOOPBACK, "0.0.0.0", "::") else own)}


def host_name(value: str) -> str:
    """``localhost:8000`` and ``[::1]:8000`` without the port."""
    value = value.strip().lower()
    return value[1:].partition("]")[0] if value.startswith("[") else value.partition(":")[0]


class Guard:
    """ASGI middleware, the outermost: refuses what may not be asked, counts and times what is.

    - Host: one of ours, so that a foreign name that was made to point here (DNS rebinding) gets nothing.
    - CSRF: a request that changes something must not come from another site's page (Origin, Sec-Fetch-Site), and with
      a session's cookie must carry a header that pages of other sites cannot send.
    - CORS: no answer carries an Access-Control header, so that no other site's page reads anything.
    - Bodies are bounded while they are read, whatever their headers say, and so is the time that they take to arrive.
    - Requests under way are bounded: what waits for a thread or a turn of the loop is in no model's queue.
    """

    def __init__(self, app: Any, settings: ServeSettings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self.hosts = allowed_hosts(settings)
        self.under_way, self.took = 0, 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        started, status, begun = time.perf_counter(), 500, False
        limits, path = self.settings.limits, str(scope["path"])
        upload = path.endswith(("/upload", "/look"))
        most, read, more = (limits.upload_bytes if upload else limits.bytes), 0, True
        patience = limits.seconds * (UPLOAD_PATIENCE if upload else 1)

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal read, more
            if not more:  # all is in; what may still come is that the client has gone
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), started + patience - time.perf_counter())
            except TimeoutError:
                told = f"the body did not arrive within {patience:g} seconds; ask again"
                raise Refused(408, told, {"connection": "close"}) from None
            read += len(message.get("body", b""))
            if read > most:
                raise too_large(most)
            more = bool(message.get("more_body"))
            return message

        async def guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = int(message["status"]), True
                message["headers"] = [*message.get("headers", []), *self._headers(path)]
            await send(message)

        counted = path not in (*HEALTH, "/") and not path.startswith("/static/")
        self.under_way += counted
        try:
            self._check(scope["method"], headers, most)
            if counted and self.under_way > limits.requests:
                self.metrics.refused.labels("").inc()
                raise Refused(503, f"{limits.requests:,} requests are under way; ask again later",
                              {"retry-after": str(max(1, round(self.took)))})  # fmt: skip
            await self.app(scope, bounded, guarded)
        except Refused as refused:
            if begun:
                raise
            await self._refuse(guarded, refused)
        finally:
            self.under_way -= counted
            if counted and status < 400:
                self.took = time.perf_counter() - started  # about what a new one would wait
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, method, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)

    def _check(self, method: str, headers: dict[str, str], most: int) -> None:
        host = host_name(headers.get("host", ""))
        if host not in self.hosts:
            raise Refused(
                421, f"host {host[:100]!r} is not served here; start with --allow-host {host[:100] or 'NAME'}"
            )
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > most:
            raise too_large(most)
        if method in SAFE:
            return
        origin = headers.get("origin")
        if origin is not None and origin.partition("//")[2].lower() != headers.get("host", "").strip().lower():
            raise Refused(403, "a page of another site may not change anything here")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Refused(403, "a page of another site may not change anything here")
        bearer = headers.get("authorization", "").lower().startswith("bearer ")
        if f"{COOKIE}=" in headers.get("cookie", "") and not bearer and CSRF_HEADER not in headers:
            raise Refused(403, f"a change with a session's cookie needs the header {CSRF_HEADER}: 1")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("", "application/json", "multipart/form-data"):
            raise Refused(415, f"content type {kind[:60]!r}: send application/json")
        if kind == "multipart/form-data" and CSRF_HEADER not in headers and not bearer:
            # a form of any page could send this without asking
            raise Refused(403, f"an upload needs the header {CSRF_HEADER}: 1")

    def _headers(self, path: str) -> list[tuple[bytes, bytes]]:
        cache = "no-cache" if path.startswith("/static") or path == "/" else "no-store"
        return [(k.encode(), v.encode()) for k, v in {**HEADERS, "cache-control": cache}.items()]

    async def _refuse(self, send: Send, refused: Refused) -> None:
        body = json.dumps({"detail": refused.detail}).encode()
        plain = {"content-type": "application/json", "content-length": str(len(body)), **(refused.headers or {})}
        start = {"type": "http.response.start", "status": refused.status_code,
                 "headers": [(k.encode(), v.encode("latin-1", "replace")) for k, v in plain.items()]}  # fmt: skip
        await send(start)
        await send({"type": "http.response.body", "body": body})
