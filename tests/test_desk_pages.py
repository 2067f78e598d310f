"""The coder's pages for everybody: screen readers, phones, wrong tokens, two coders at once, a long queue."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='needs the extra "serve": pip install "hjc[serve]"')

from tests.desk_server import HOW, Server, browser, desk
from tests.test_desk_browser import ADS, enter, paste

pytestmark = [pytest.mark.more, pytest.mark.slow]
VIEWS = [(1280, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as found:
        yield found


def page_of(chrome: Any, width: int = 1280, scheme: str = "light") -> Any:
    context = chrome.new_context(locale="en-GB", viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(20_000)
    return context.new_page()


def violations(page: Any) -> list[str]:
    """What axe-core finds: rule and element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=f"no axe-core: {HOW}")
    found = axe.Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html'][:120]}" for rule in found for node in rule["nodes"]]


def look(page: Any, name: str) -> None:
    """No rule of axe is broken, nothing is wider than the window; a picture where HJC_SCREENSHOTS names a folder."""
    if folder := os.environ.get("HJC_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}_{page.viewport_size['width']}.png"))
    assert violations(page) == [], name
    wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= window, f"{name}: {wide} px in a window of {window} px"


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_every_view_can_be_read_and_fits(chrome: Any, tmp_path: Path, width: int, scheme: str) -> None:
    page = page_of(chrome, width, scheme)
    with desk(tmp_path / "desk.db") as server:
        page.goto(server.url)
        page.get_by_label("Your name").wait_for()
        look(page, "sign_in")
        enter(page, server)
        paste(page, ADS)
        page.get_by_role("button", name="Code", exact=True).wait_for()
        look(page, "batches")
        page.get_by_role("button", name="Code", exact=True).click()
        page.locator(".choice").first.wait_for()
        look(page, "code")
        page.keyboard.press("w")
        page.locator("mark").first.wait_for()
        look(page, "why")
        page.get_by_role("button", name="Back to the batches").click()
        page.get_by_role("button", name="Supervise").click()
        page.get_by_role("heading", name="Agreement").wait_for()
        look(page, "supervise")
    page.context.close()


def test_a_wrong_token_lets_nobody_in(chrome: Any, tmp_path: Path) -> None:
    store = tmp_path / "desk.db"
    command = [sys.executable, "-m", "hjc.cli", "desk", "user", "anna", "--role", "admin", "--store", str(store)]
    token = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.strip()
    page = page_of(chrome)
    with desk(store, "--tokens") as server:
        page.goto(server.url)
        field = page.locator("input[type=password]")
        field.fill(token[:-1] + ("x" if token[-1] != "x" else "y"))
        page.get_by_role("button", name="Sign in").click()
        page.locator("[role=alert]").first.wait_for()
        assert field.is_visible() and page.get_by_label("Ads, one a line").count() == 0
        field.fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Ads, one a line").wait_for()
        assert token not in page.content() and token not in page.url
    page.context.close()


def test_two_browsers_never_get_one_ad(chrome: Any, tmp_path: Path) -> None:
    pages = [page_of(chrome), page_of(chrome)]
    seen: list[list[str]] = [[], []]
    with desk(tmp_path / "desk.db") as server:
        enter(pages[0], server)
        paste(pages[0], [f"{ad} {n}" for n, ad in enumerate(ADS)])
        pages[0].get_by_text("0 of 10 done").wait_for()
        enter(pages[1], server, "bo")
        for page in pages:
            page.get_by_role("button", name="Code", exact=True).click()
        left = [True, True]
        while any(left):
            for i, page in enumerate(pages):
                if not left[i]:
                    continue
                page.locator(".text, :text('Nothing is left')").first.wait_for()
                left[i] = page.locator(".text").count() > 0
                if left[i]:
                    page.locator(".choice").first.wait_for()
                    seen[i].append(page.locator(".text").inner_text())
                    page.keyboard.press("1")
                    page.wait_for_function(
                        "text => document.querySelector('.text')?.innerText !== text",
                        arg=seen[i][-1],
                    )
    assert seen[0] and seen[1] and sorted(seen[0] + seen[1]) == sorted(f"{ad} {n}" for n, ad in enumerate(ADS))
    for page in pages:
        page.context.close()


def test_a_queue_of_ten_thousand_stays_fast(chrome: Any, tmp_path: Path) -> None:
    """The median wait from the key to the next ad, in a long queue and in a short one, on one server."""
    page = page_of(chrome)
    page.context.set_default_timeout(180_000)
    table = tmp_path / "ads.csv"
    table.write_text("id,title\n" + "".join(f"a{n},{ADS[n % len(ADS)]} {n}\n" for n in range(10_000)), encoding="utf-8")
    with desk(tmp_path / "desk.db") as server:
        enter(page, server)
        short = waits(page, server, 30)
        page.get_by_label("CSV, Excel, JSON or Parquet").set_input_files(str(table))
        page.get_by_role("button", name="Take in").click()
        page.get_by_text("0 of 10,000 done").or_(page.get_by_text("0 of 10000 done")).wait_for()
        page.get_by_role("button", name="Code", exact=True).last.click()
        long = press(page, 15)
    short_ms, long_ms = (statistics.median(found) * 1000 for found in (short, long))
    print(f"median wait: {short_ms:.0f} ms of 30 ads, {long_ms:.0f} ms of 10,000")
    assert long_ms < max(100, 3 * short_ms)
    page.context.close()


def waits(page: Any, server: Server, count: int) -> list[float]:
    paste(page, [f"{ADS[n % len(ADS)]} {n}" for n in range(count)])
    page.get_by_text(f"0 of {count} done").wait_for()
    page.get_by_role("button", name="Code", exact=True).click()
    found = press(page, 15)
    page.goto(server.url)
    page.get_by_label("Ads, one a line").wait_for()
    return found


def press(page: Any, times: int) -> list[float]:
    """Seconds from key 1 to another ad on the page, measured from outside of it."""
    found = []
    for _ in range(times):
        page.locator(".choice").first.wait_for()
        text = page.locator(".text").inner_text()
        page.wait_for_timeout(300)  # as long as a person looks at least; the next ads are fetched meanwhile
        begun = time.perf_counter()
        page.keyboard.press("1")
        page.wait_for_function("text => document.querySelector('.text')?.innerText !== text", arg=text)
        found.append(time.perf_counter() - begun)
    return found
