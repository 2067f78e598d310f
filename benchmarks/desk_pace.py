"""How long a coder waits: from the key press to the next ad on the screen, in a real Chromium.

python benchmarks/desk_pace.py RUN_DIR [--ads 50] [--looks 1.0,0.3]

Starts the desk on RUN_DIR with ads of the bundled sample, and presses key 1 in Chromium for each after so many seconds
of looking. The page itself measures: from the key event to the frame in which another ad is shown. Needs playwright and
chromium. Browser and server share the machine.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from hjc.data import load_sample

#: notes the time between each key and the frame after another ad has come
WATCH = """
window.waits = [];
let pressed = 0;
document.addEventListener("keydown", event => { pressed = event.timeStamp; }, true);
let shown = null;
new MutationObserver(() => {
  const now = document.querySelector("main.coding h1")?.innerText ?? "";
  if (now === shown) return;
  shown = now;
  const from = pressed;
  if (from) requestAnimationFrame(() => setTimeout(() => window.waits.push(performance.now() - from)));
}).observe(document.getElementById("app"), { childList: true, subtree: true, characterData: true });
"""


def code(page: Any, ads: int, look: float) -> str:
    """Code so many ads; one line of the table."""
    page.evaluate("window.waits.length = 0")
    for done in range(ads):
        page.wait_for_timeout(1000 * look)
        page.locator(".choice").first.wait_for()
        page.keyboard.press("1")
        page.wait_for_function("n => window.waits.length > n", arg=done)
    p50, p95, most = np.percentile(page.evaluate("window.waits"), [50, 95, 100])
    return f"{look:>6.1f} {ads:>5} {p50:>7.0f} {p95:>7.0f} {most:>7.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir")
    parser.add_argument("--ads", type=int, default=50)
    parser.add_argument("--looks", default="1.0,0.3")
    args = parser.parse_args()
    looks = [float(look) for look in args.looks.split(",")]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        ads, store = Path(folder) / "ads.csv", str(Path(folder) / "desk.db")
        with ads.open("w", newline="", encoding="utf-8") as stream:
            texts = load_sample().tests["ads"].texts[: args.ads * len(looks) + 5]
            csv.writer(stream).writerows([["text"], *([text] for text in texts)])
        command = [
            sys.executable,
            "-m",
            "hjc.cli",
            "serve",
            args.run_dir,
            "--port",
            "0",
            "--store",
            store,
            "--ads",
            str(ads),
        ]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        address = next(line for line in server.stderr if line.startswith("http://")).split()[0]
        with suppress(OSError):
            urllib.request.urlopen(f"{address}readyz", timeout=60).close()
        program = shutil.which("chromium")
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page(locale="en-GB", viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.get_by_label("Your name").fill("anna")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Code", exact=True).click()
        page.locator(".choice").first.wait_for()
        page.evaluate(WATCH)
        print("milliseconds from the key to the next ad\n  look   ads  median     95%     max")
        for look in looks:
            print(code(page, args.ads, look), flush=True)
        browser.close()
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
