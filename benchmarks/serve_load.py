"""Load on ``hjc serve``: time to the answer at fixed rates, and what happens beyond what it can do.

python benchmarks/serve_load.py RUN_DIR [--rates 50,100,200] [--seconds 20] [--queue-rows 256]

Starts the service on RUN_DIR, and sends one ad a request at a fixed rate whether or not answers come (times count from
the moment at which a request was due, so that a slow answer makes the next ones late as well). The texts are the titles
of the bundled sample. Client and server share the machine. Prints a line a rate: requests, answered, refused with 503
and Retry-After, lost (no answer, or another one), p50, p99 and the largest time in milliseconds of those answered.
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
from pathlib import Path

import numpy as np

from hjc.data.sample import sample_titles

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


async def at_rate(port: int, rate: float, seconds: float, texts: list[str]) -> str:
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
    p50, p99, most = np.percentile(times, [50, 99, 100]) if times else (np.nan,) * 3
    for _, writer in client.free:
        writer.close()
    counts = f"{n:>9,} {told['answered']:>9,} {told['refused']:>8,} {told['lost']:>5,}"
    return f"{rate:>7.0f} {counts} {p50:>8.1f} {p99:>8.1f} {most:>8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir")
    parser.add_argument("--rates", default="50,100,200")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--queue-rows", type=int, default=256)
    args = parser.parse_args()
    texts = sample_titles()["title"].tolist()
    np.random.default_rng(0).shuffle(texts)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hjc.cli", "serve", args.run_dir, "--port", "0", "--store",
                   str(Path(folder) / "desk.db"), "--queue-rows", str(args.queue_rows)]  # fmt: skip
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
        for rate in args.rates.split(","):
            print(asyncio.run(at_rate(port, float(rate), args.seconds, texts)), flush=True)
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
