"""The coder's page in a real Chromium; skipped where there is none (``make test-more`` has it)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='needs the extra "serve": pip install "hjc[serve]"')

from tests.desk_server import Server, browser, desk

pytestmark = [pytest.mark.more, pytest.mark.slow]
ADS = ["registered nurse", "cook in a restaurant", "lorry driver", "baker of bread", "bus driver", "pilot wanted",
       "doctor", "soldier", "confectioner", "kitchen helper"]  # fmt: skip


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def page(chrome: Any) -> Iterator[Any]:
    """A page of its own session; an error of its scripts fails the test."""
    context = chrome.new_context(locale="en-GB", viewport={"width": 1280, "height": 800})
    made, errors = context.new_page(), list[str]()
    made.on("pageerror", lambda error: errors.append(str(error)))
    made.set_default_timeout(10_000)
    yield made
    context.close()
    assert errors == []


def enter(page: Any, server: Server, name: str = "anna") -> None:
    page.goto(server.url)
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Sign in").click()


def paste(page: Any, ads: list[str], name: str = "my ads") -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Ads, one a line").fill("\n".join(ads))
    page.get_by_role("button", name="Make a batch").click()


def test_ten_ads_by_keyboard_and_a_killed_server(page: Any, tmp_path: Path) -> None:
    with desk(tmp_path / "desk.db") as server:
        enter(page, server)
        paste(page, ADS)
        page.get_by_role("button", name="Code", exact=True).click()
        for done in range(10):
            page.get_by_text(f"{done} done, {10 - done} left").wait_for()
            page.locator(".choice").first.wait_for()
            if done == 5:
                server.kill()
            page.keyboard.press("1")
            if done == 5:  # what could not be saved is sent until it is
                page.get_by_text("is not saved yet").wait_for()
                server.start()
        page.get_by_text("10 done, 0 left").wait_for()
        page.get_by_text("Nothing is left in this batch.").wait_for()


def test_the_next_ad_is_shown_before_the_last_is_saved(page: Any, tmp_path: Path) -> None:
    with desk(tmp_path / "desk.db") as server:
        enter(page, server)
        paste(page, ADS[:4])
        page.get_by_role("button", name="Code", exact=True).click()
        page.locator(".choice").first.wait_for()
        held = list[Any]()
        page.route("**/v1/desk/decisions", lambda route: held.append(route))
        for _ in range(2):  # the two that were fetched ahead
            text = page.locator(".text").inner_text()
            page.keyboard.press("1")
            page.wait_for_function("text => document.querySelector('.text').innerText !== text", arg=text)
        page.wait_for_timeout(100)
        assert len(held) == 1  # one after the other
        assert page.get_by_text("0 done, 4 left").is_visible()
        for n in range(2):
            while len(held) <= n:
                page.wait_for_timeout(50)
            held[n].continue_()
        page.get_by_text("2 done, 2 left").wait_for()


def test_a_text_with_markup_stays_a_text(page: Any, tmp_path: Path) -> None:
    evil = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\"> nurse"
    with desk(tmp_path / "desk.db") as server:
        enter(page, server, "<b>eve</b>")
        paste(page, [evil], evil[:80])
        page.get_by_role("button", name="Code", exact=True).click()
        page.locator(".text").wait_for()
        assert page.locator(".text").inner_text() == evil
        assert page.title() == "hjc desk"
        assert page.locator("img, b").count() == 0


def test_search_several_codes_why_and_undo_by_keyboard(page: Any, tmp_path: Path) -> None:
    with desk(tmp_path / "desk.db") as server:
        enter(page, server)
        paste(page, ["nurse and cook wanted", "lorry driver wanted", "soldier"])
        page.get_by_role("button", name="Code", exact=True).click()
        page.locator(".choice").first.wait_for()
        page.keyboard.press("w")
        page.locator("mark").first.wait_for()
        page.keyboard.press("c")
        page.locator("#several").wait_for()
        page.keyboard.press("1")
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        page.get_by_text("1 done, 2 left").wait_for()
        page.keyboard.press("/")
        page.keyboard.type("kierowca auto")
        page.locator(".hit[data-code='812']").wait_for()
        page.keyboard.press("ArrowDown")
        assert page.locator(":focus").get_attribute("data-code") == "812"
        page.keyboard.press("Enter")
        page.get_by_text("2 done, 1 left").wait_for()
        page.keyboard.press("u")
        page.get_by_text("1 done, 2 left").wait_for()
        page.locator("details.tree > summary").click()
        page.locator("details.others > summary", has_text="All codes").click()
        page.locator(".node[data-code='8']").first.click()
        page.get_by_text("2 done, 1 left").wait_for()


def test_an_uploaded_table_and_another_language(page: Any, tmp_path: Path) -> None:
    table = tmp_path / "ads.csv"
    table.write_text("id,title\na1,nurse\na2,cook\n", encoding="utf-8")
    with desk(tmp_path / "desk.db") as server:
        enter(page, server)
        page.get_by_label("CSV, Excel, JSON or Parquet").set_input_files(str(table))
        page.get_by_role("button", name="Take in").click()
        page.get_by_text("0 of 2 done").wait_for()
        bad = tmp_path / "bad.xlsx"
        bad.write_bytes(b"no workbook")
        page.get_by_label("CSV, Excel, JSON or Parquet").set_input_files(str(bad))
        page.get_by_text("cannot be read as Excel").wait_for()
        page.get_by_label("Language").select_option("pl")
        page.get_by_role("button", name="Nadzór").click()
        page.get_by_role("heading", name="Zgodność").wait_for()
