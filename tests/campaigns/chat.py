"""Answers of a chat endpoint, made up and damaged: a candidate is chosen or none, never an exception raised."""

import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np

from hjc.rerank import Candidate, ChatClient, ChatReranker, ChatSettings, EndpointError, Extraction
from tests.campaigns.harness import Tally
from tests.campaigns.models import json_mutated
from tests.campaigns.tables import ODD, bytes_mutated

CANDIDATES = [Candidate(i, code, f"title {code}", "", 0.8 - i / 10) for i, code in enumerate(["2221", "5120", "7212"])]


def reply(draw: random.Random) -> tuple[int, bytes, dict[str, str]]:
    """A status, a body, headers: a good reply, and what may become of it."""
    choice: Any = {
        "outcome": draw.choice(["choose"] * 6 + ["decline", "x"]),
        "number": draw.choice([1, 2, 3] * 4 + [0, -1, 4, 99, 1.5, "2", None, True, 10**30]),
        "confidence": draw.choice([0.8, 0, 1] * 4 + [85, -1, "high", None, float("nan"), 1e400]),
        "reason": draw.choice(["", "nearest", "2221", "\ud83d" if draw.random() < 0.1 else "x" * 100_000]),
    }
    if draw.random() < 0.3:
        choice = json_mutated(choice, draw)
    content = json.dumps(choice)
    if draw.random() < 0.3:
        at = draw.randrange(len(content) + 1)
        content = content[:at] + draw.choice([*ODD, "{", "}", "```", "<think>", "[" * 5000]) + content[at:]
    if draw.random() < 0.2:
        content = draw.choice(
            [f"Sure!\n```json\n{content}\n```", content * 2, content[: len(content) // 2], "", "null"]
        )
    usage = {"prompt_tokens": draw.choice([9, 0, -5, "x", 10**20, None]), "completion_tokens": 1}
    message = {"role": "assistant", "content": draw.choice([content] * 9 + [None, [content], 7])}
    body: Any = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    if draw.random() < 0.2:
        body = json_mutated(body, draw)
    data = json.dumps(body).encode()
    if draw.random() < 0.2:
        data = bytes_mutated(data, draw)
    status = draw.choice([200] * 40 + [400, 401, 403, 404, 413, 422, 429, 500, 503, 307, 204])
    headers = (
        {"Retry-After": draw.choice(["0", "x", "-1", "1e300", "Wed, 21 Oct 2015 07:28:00 GMT"])}
        if status == 429
        else {}
    )
    if draw.random() < 0.05:
        headers["Content-Encoding"] = draw.choice(["gzip", "br", "deflate", "x"])
    return status, data, headers


def serve(replies: Iterator[tuple[int, bytes, dict[str, str]]]) -> HTTPServer:
    """One reply after the other, whatever is asked."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body, headers = next(replies)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    class Quiet(HTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client hangs up on a reply that it refuses."""

    server = Quiet(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def run(count: int, seed: int) -> Tally:
    """``count`` answers, as many ads as they suffice for (an answer that cannot be used is asked for again)."""
    tally, waiting = Tally("chat", seed), [0]

    def replies() -> Iterator[tuple[int, bytes, dict[str, str]]]:
        for waiting[0] in range(10**9):
            yield reply(tally.random(waiting[0]))

    server = serve(replies())
    settings = ChatSettings(
        model="any", endpoint=f"http://127.0.0.1:{server.server_address[1]}/v1", backoff=0.001, timeout=5.0, retries=1
    )
    with ChatClient(settings) as client:
        reranker, ads = ChatReranker(client), 0
        while waiting[0] < count:
            ads += 1
            try:
                result = reranker.rerank(Extraction(title=f"ad {ads}", duties="", skills=""), CANDIDATES)
            except EndpointError:  # a refused key, say: it ends a run with one message
                tally.add("endpoints refused")
                continue
            except Exception as error:
                tally.fault(ads, f"{type(error).__name__}: {str(error)[:300]}")
                continue
            tally.add(f"ads {result.status}")
            if result.chosen not in (None, 0, 1, 2) or not np.isclose(np.exp(result.scores).sum(), 1):
                tally.fault(ads, f"chosen {result.chosen}, scores {result.scores}")
            if result.status == "failed" and not result.abstain:
                tally.fault(ads, "failed without a reason")
    server.shutdown()
    tally.add(*["answers"] * waiting[0])
    return tally
