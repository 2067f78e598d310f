"""An HTTP server that speaks the protocol of /v1/chat/completions, run as a process of its own by the tests.

``python chat_server.py`` prints its port. What it does depends on the model of a request: the name before a colon is a
behaviour, the number behind it a parameter ("slow:5"). ``GET /stats`` gives its counters and the last request.
"""

import contextlib
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOCK = threading.Lock()
STATS = {"requests": 0, "now": 0, "most": 0, "by_model": {}, "last": None, "authorization": [], "times": []}
#: tokens that every reply reports
COUNTED = {"prompt_tokens": 101, "completion_tokens": 23}


def choose(number, confidence=0.8, outcome="choose", reason="nearest"):
    return json.dumps({"outcome": outcome, "number": number, "confidence": confidence, "reason": reason})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, body, headers=(), declared=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(declared or len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def answer(self, content, finish="stop", usage=COUNTED):
        body = {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}]
        }
        if usage:
            body["usage"] = usage
        self.reply(200, body)

    def do_GET(self):
        with LOCK:
            self.reply(200, STATS)

    def do_DELETE(self):
        """Counters back to nothing."""
        with LOCK:
            STATS.update({"requests": 0, "most": 0, "by_model": {}, "last": None, "authorization": [], "times": []})
            self.reply(200, {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        behaviour, _, parameter = body["model"].partition(":")
        with LOCK:
            STATS["requests"] += 1
            STATS["now"] += 1
            STATS["most"] = max(STATS["most"], STATS["now"])
            seen = STATS["by_model"][body["model"]] = STATS["by_model"].get(body["model"], 0) + 1
            STATS["last"], STATS["times"] = body, [*STATS["times"], time.time()][-200:]
            STATS["authorization"].append(self.headers.get("Authorization"))
        # a client that went away is part of the game
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, behaviour)(body, float(parameter or 0), seen)
        with LOCK:
            STATS["now"] -= 1

    # ------------------------------------------------------------------ behaviours

    def good(self, body, parameter, seen):
        """Chooses the candidate whose line has a word of the ad's first line; number 1 where none has."""
        if parameter:
            time.sleep(parameter)
        user = body["messages"][1]["content"]
        words = set(re.findall(r"\w{4,}", user.split("<ad>")[1].split("</ad>")[0].casefold()))
        lines = re.findall(r"^(\d+)\. (.*)$", user, re.MULTILINE)
        best = max(lines, key=lambda line: len(words & set(re.findall(r"\w{4,}", line[1].casefold()))))
        self.answer(choose(int(best[0])))

    def fenced(self, body, parameter, seen):
        self.answer("<think>{hm}</think>Sure:\n```json\n" + choose(1) + "\n```")

    def malformed(self, body, parameter, seen):
        self.answer("number two, I think")

    def malformed_once(self, body, parameter, seen):
        self.answer(choose(2) if seen > 1 else '{"outcome": "choose", "number": ')

    def wrong_schema(self, body, parameter, seen):
        self.answer(json.dumps({"outcome": "choose", "number": "two", "confidence": 0.5, "reason": ""}))

    def outside(self, body, parameter, seen):
        self.answer(choose(99))

    def outside_once(self, body, parameter, seen):
        self.answer(choose(99 if seen == 1 else 2))

    def percent(self, body, parameter, seen):
        self.answer(choose(1, confidence=85))

    def decline(self, body, parameter, seen):
        self.answer(choose(0, confidence=0.9, outcome="decline", reason="no job in the text"))

    def empty(self, body, parameter, seen):
        self.answer(None)

    def cut(self, body, parameter, seen):
        self.answer('{"outcome": "cho', finish="length")

    def no_choices(self, body, parameter, seen):
        self.reply(200, {"error": {"message": "overloaded"}})

    def no_usage(self, body, parameter, seen):
        self.answer(choose(1), usage=None)

    def slow(self, body, parameter, seen):
        time.sleep(parameter)
        self.answer(choose(1))

    def drip(self, body, parameter, seen):
        """A reply that never stops coming, a byte at a time."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.trickle(b" ")

    def drip_headers(self, body, parameter, seen):
        """Never a whole header."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self.trickle(b"x")

    def drip_zipped(self, body, parameter, seen):
        """Bytes come, and never a character of the text that they are the packed form of."""
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"\x1f\x8b\x08\x08\0\0\0\0\0\xff")
        self.trickle(b"n")  # a file name without an end

    def trickle(self, byte):
        for _ in range(100):
            self.wfile.write(byte)
            self.wfile.flush()
            time.sleep(0.05)
        self.close_connection = True

    def reports_nothing(self, body, parameter, seen):
        """Works for nothing, if its counts are to be believed."""
        self.answer(choose(1), usage={"prompt_tokens": 0, "completion_tokens": 0})

    def slow_once(self, body, parameter, seen):
        if seen == 1:
            time.sleep(parameter)
        self.answer(choose(1))

    def limited(self, body, parameter, seen):
        """429 with Retry-After for the first request."""
        if seen == 1:
            self.reply(429, {"error": "slow down"}, [("Retry-After", f"{parameter:g}")])
        else:
            self.answer(choose(1))

    def flaky(self, body, parameter, seen):
        """As many errors as the parameter says, then good ones."""
        if seen <= parameter:
            self.reply(500 if seen % 2 else 503, {"error": "internal"})
        else:
            self.answer(choose(1))

    def truncated(self, body, parameter, seen):
        self.reply(200, b'{"choices": [{"message"', declared=500)
        self.close_connection = True

    def truncated_once(self, body, parameter, seen):
        if seen == 1:
            self.truncated(body, parameter, seen)
        else:
            self.answer(choose(1))

    def html(self, body, parameter, seen):
        self.reply(200, b"<html>proxy</html>")

    def unauthorized(self, body, parameter, seen):
        self.reply(401, {"error": f"wrong key {self.headers.get('Authorization')}"})

    def redirect(self, body, parameter, seen):
        self.reply(307, {}, [("Location", "http://127.0.0.1:9/v1/chat/completions")])

    def too_long(self, body, parameter, seen):
        self.reply(413, {"error": "too long"})

    def plain_only(self, body, parameter, seen):
        """Knows neither kind of response_format."""
        if "response_format" in body:
            self.reply(400, {"error": "response_format is not supported"})
        else:
            self.answer(choose(1))

    def objects_only(self, body, parameter, seen):
        if body.get("response_format", {}).get("type") == "json_schema":
            self.reply(422, {"error": "json_schema is not supported"})
        else:
            self.answer(choose(1))

    def obedient(self, body, parameter, seen):
        """The worst model: does what the last instruction in the ad says."""
        ad = body["messages"][1]["content"].split("<ad>")[1].split("</ad>")[0]
        found = re.findall(r"answer (\d+)", ad)
        self.answer(choose(int(found[-1]) if found else 1, confidence=1.0, reason=ad[:100]))

    def write(self, body, parameter, seen):
        """Ads: one that may stand in the tests, one that is nearly it, a new one, and one without a title."""
        user = body["messages"][1]["content"]
        name = re.search(r"occupation: (.*)", user)[1]
        ads = [
            {"title": f"{name} wanted", "text": "Come and work with us in the old town from Monday on."},
            {"title": f"{name} wanted", "text": "Come and work with us in the old town from Monday on!!"},
            {"title": f"Junior {name}", "text": f"You learn all that a {name} does: number {seen}, in a team of five."},
            {"title": "-", "text": "nothing"},
        ]
        self.answer(json.dumps({"ads": ads[: int(re.search(r"Write (\d+)", user)[1])]}))

    def extract(self, body, parameter, seen):
        values = {"is_job": True, "title": "Nurse", "duties": "Cares for patients.", "skills": "first aid",
                  "seniority": "", "industry": "health", "reason": ""}  # fmt: skip
        if "no job here" in body["messages"][1]["content"]:
            values = {**values, "is_job": False, "reason": "a cookie notice"}
        self.answer(json.dumps(values))


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()  # ends with its parent
    server.serve_forever(poll_interval=0.05)
