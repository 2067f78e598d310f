"""Load on ``hjc serve``: time to the answer at fixed rates, the best rate, and what happens beyond what it can do.

python benchmarks/serve_load.py RUN_DIR [--rates 50,100,200] [--best 200] [--seconds 20] [--texts ads]

Starts the service on RUN_DIR, and sends one ad a request at a fixed rate whether or not answers come (times count from
the moment at which a request was due, so that a slow answer makes the next ones late as well). The texts are titles of
the bundled sample, or its ads. Client and server share the machine. Prints a line a rate: requests, answered, refused
with 503 and Retry-After, lost (no answer, or another one), p50, p99 and the largest time in milliseconds of those
answered. ``--best`` looks for the largest rate at which all are answered and p99 is under so many milliseconds, then
sends twice as many.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hjc.data import load_sample

#: the best rate is known when it is this near to one that is too much (a part of it)
NEAR = 0.06
Reading = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """Keep-alive connections to one port, taken in turn; a new one where none is free."""

    def __init__(self, port: int) -> None:
        self.port, self.free = port, list[Reading]()

    async def post(self, path: str, body: bytes) -> tuple[int, dict[str, str]]:
        """As clients do: a kept connection that the server has closed meanwhile is not a lost request."""
        if self.free:
            with suppress(OSError, asyncio.IncompleteReadError):
                return await self._post(self.free.pop(), path, body)
        return await self._post(await asyncio.open_connection("127.0.0.1", self.port), path, body)

    async def _post(self, pair: Reading, path: str, body: bytes) -> tuple[int, dict[str, str]]:
        reader, writer = pair
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json",
                 f"Content-Length: {len(body)}"]  # fmt: skip
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        told = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in told[1:] if line)}
        await reader.readexactly(int(headers["content-length"]))
        self.free.append((reader, writer))
        return int(told[0].split()[1]), headers


@dataclass(frozen=True)
class Found:
    """What came of a rate; times in milliseconds."""

    rate: float
    requests: int
    told: Counter[str]
    p50: float
    p99: float
    most: float

    def within(self, limit: float) -> bool:
        """All were answered, 99 of 100 within the limit."""
        return self.told["answered"] == self.requests and self.p99 < limit

    def __str__(self) -> str:
        counts = " ".join(f"{self.told[name]:>8,}" for name in ("answered", "refused", "lost"))
        return f"{self.rate:>7.0f} {self.requests:>9,} {counts} {self.p50:>8.1f} {self.p99:>8.1f} {self.most:>8.1f}"


async def at_rate(port: int, rate: float, seconds: float, texts: list[str]) -> Found:
    """One line of the table."""
    client, times, told = Client(port), list[float](), Counter[str]()
    start, n = time.perf_counter() + 0.1, round(rate * seconds)

    async def one(i: int) -> None:
        due = start + i / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        try:
            body = json.dumps({"text": texts[i % len(texts)], "top_k": 5}).encode()
            status, headers = await client.post("/v1/predict", body)
        except (OSError, asyncio.IncompleteReadError):
            told["lost"] += 1
            return
        if status == 200:
            told["answered"] += 1
            times.append(1000 * (time.perf_counter() - due))
        else:
            told["refused" if status == 503 and "retry-after" in headers else "lost"] += 1

    await asyncio.gather(*map(one, range(n)))
    p50, p99, most = np.percentile(times, [50, 99, 100]).tolist() if times else (np.nan,) * 3
    for _, writer in client.free:
        writer.close()
    return Found(rate, n, told, p50, p99, most)


def best_rate(port: int, limit: float, seconds: float, texts: list[str]) -> None:
    """Lines of the rates that are tried: doubled until too much, then halfway between; last, twice the best."""
    good, bad, rate = 0.0, 0.0, 10.0
    for _ in range(12):
        print(found := asyncio.run(at_rate(port, rate, seconds, texts)), flush=True)
        if found.within(limit):
            good = rate
        else:
            bad = rate
        if bad and bad - good <= max(NEAR * bad, 1):
            break
        rate = 2 * rate if not bad else (good + bad) / 2
    print(f"best: {good:.0f} requests/s with p99 under {limit:.0f} ms. Twice as many:")
    print(asyncio.run(at_rate(port, 2 * max(good, 1), seconds, texts)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir")
    parser.add_argument("--rates", default="50,100,200", help="empty: none")
    parser.add_argument("--best", type=float, help="milliseconds of p99")
    parser.add_argument("--texts", choices=("titles", "ads"), default="titles")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--requests", type=int, default=256, help="of the service: under way at a time")
    args = parser.parse_args()
    texts = list(load_sample().tests[args.texts].texts)
    np.random.default_rng(0).shuffle(texts)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hjc.cli", "serve", args.run_dir, "--port", "0", "--store",
                   str(Path(folder) / "desk.db"), "--requests", str(args.requests)]  # fmt: skip
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        line = next(line for line in server.stderr if line.startswith("http://"))
        port = int(line.split(":")[2].split("/")[0])
        for _ in range(100):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
                break
            time.sleep(0.1)
        print("   rate  requests  answered  refused  lost      p50      p99      max")
        asyncio.run(at_rate(port, 20, 3, texts))  # first requests load what is loaded late
        for rate in filter(None, args.rates.split(",")):
            print(asyncio.run(at_rate(port, float(rate), args.seconds, texts)), flush=True)
        if args.best:
            best_rate(port, args.best, args.seconds, texts)
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
