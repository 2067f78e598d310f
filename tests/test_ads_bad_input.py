"""What ``hjc predict`` writes and says of rows that are no proper ads: companies, pages, unknown languages ..."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hjc.classifiers.ads import AdsClassifier
from hjc.classifiers.ads_remarks import jobs_named
from hjc.classifiers.ads_settings import AdsSettings
from hjc.classifiers.linear_settings import LinearSettings
from hjc.data import JobData, TextRecipe
from hjc.rerank.ads import possible_jobs, read_ad
from hjc.taxonomy import from_edges

NAMES = {
    "51": ["cook", "kucharz", "Koch", "pizza cook", "kucharz w hotelu", "Koch im Hotel", "school cook"],
    "52": ["waiter", "kelner", "Kellner", "hotel waiter", "kelner w hotelu", "Kellner im Hotel", "head waiter"],
    "12": ["research and development manager", "development manager", "manager of research", "research manager"],
    "81": ["lorry driver", "kierowca", "Fahrer", "driver of lorries", "kierowca ciężarówki", "Fahrer im Fernverkehr"],
}
WORK = {
    "51": "prepares meals in a kitchen, boils, fries and seasons food",
    "52": "serves guests at their tables, takes orders and brings drinks",
    "12": "plans research projects and leads the people who develop products",
    "81": "drives a lorry, loads pallets and keeps the logbook",
}
ROWS: dict[str, tuple[str, str]] = {
    "empty body": ("cook", ""),
    "nothing": ("", ""),
    "a shop": ("Biedronka", ""),
    "a company": ("ABC Sp. z o.o.", ""),
    "a company's ad": ("ABC Sp. z o.o.", f"Duties: {WORK['51']} for our guests every day."),
    "two, English": ("cook and waiter", ""),
    "two, Polish": ("kucharz/kelner", ""),
    "two, German": ("Koch und Kellner", ""),
    "one of two words": ("research and development manager", ""),
    "cookies": ("", "We use cookies to improve your experience. Accept all cookies. Cookie settings."),
    "expired": ("This job has expired", "This job is no longer available. See similar jobs."),
    "a page to sign in": ("Log in", "Log in to your account. Forgot password? Create an account."),
    "another script": ("조리사", ""),
    "another language": ("szakács", ""),
    "mark-up": (
        "<b>Cook</b>",
        "<div><p>Prepares meals</p><ul><li>boils &amp; fries food</li></ul><script>x=1;</script></div>",
    ),
    "long": ("cook", "prepares meals in a kitchen for many guests. " * 2300),
    "long title": ("waiter " * 15_000, ""),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and the rows."""
    folder = tmp_path_factory.mktemp("bad")
    tree = from_edges(["1", "5", "8", *NAMES], ["", "", "", *(code[0] for code in NAMES)])
    texts = [(name, code) for code, names in NAMES.items() for name in names]
    texts += [(f"{names[0]}\n{WORK[code]}", code) for code, names in NAMES.items()] * 2
    data = JobData.from_lists(tree, [text for text, _ in texts] * 2, [code for _, code in texts] * 2)
    made = AdsClassifier(tree, AdsSettings(linear=LinearSettings(min_df=1), least_bodies=5))
    made.recipe = TextRecipe(columns=("title", "body"))
    made.fit(data).save_pretrained(folder / "model")
    frame = pd.DataFrame([(name, *row) for name, row in ROWS.items()], columns=["name", "title", "body"])
    frame.to_csv(folder / "ads.csv", index=False)
    return folder


@pytest.fixture
def coded(folder: Path, call) -> tuple[pd.DataFrame, str]:
    """The rows by their names, coded by the command, and what it said; coded once."""
    if not (folder / "said.txt").exists():
        code, _, err = call("predict", folder / "model", folder / "ads.csv", "-o", folder / "coded.csv")
        assert code == 0, err
        (folder / "said.txt").write_text(err)
    table = pd.read_csv(folder / "coded.csv", dtype=str, keep_default_na=False)
    return table.set_index("name"), (folder / "said.txt").read_text()


def cells(found: tuple[pd.DataFrame, str], name: str) -> tuple[str, str, str, float]:
    """Code, outcome, reason and probability of a row."""
    row = found[0].loc[name]
    names = ("hjc_level2_code_1", "hjc_outcome", "hjc_outcome_reason")
    return *(row[n] for n in names), float(row["hjc_level2_proba_1"] or "nan")  # type: ignore[return-value]


def test_every_row_is_there_in_its_place_and_the_command_counts_them(coded) -> None:
    assert coded[0].index.tolist() == list(ROWS)
    assert coded[0].loc["nothing", "hjc_status"] == "empty text" and "1 not coded (empty text)" in coded[1]
    counted = coded[0]["hjc_outcome"].value_counts()
    for outcome in ("title", "ad", "body", "nothing"):
        assert f"{outcome} {counted[outcome]}" in coded[1]
    assert f"warning: {counted['nothing']} rows of no job: the code is but the most usual one" in coded[1]
    pages = coded[0]["hjc_outcome_reason"].str.startswith("no ad: ").sum()
    assert f"warning: {pages} rows of a page that is no ad (a cookie notice" in coded[1]
    assert "with words that the model does not know: a company's name, or a language that it has not learnt" in coded[1]


def test_an_empty_body_is_a_title(coded) -> None:
    code, outcome, reason, proba = cells(coded, "empty body")
    assert (code, outcome, reason) == ("51", "title", "") and proba > 0.5


def test_a_title_that_is_a_company(coded) -> None:
    _, outcome, reason, proba = cells(coded, "a company")
    assert (outcome, reason) == ("nothing", "the title is the name of a company") and proba < 0.5
    assert cells(coded, "a company's ad")[:3] == ("51", "body", "the title is the name of a company")


@pytest.mark.parametrize("name", ["two, English", "two, Polish", "two, German"])
def test_two_jobs_share_the_probability(coded, name: str) -> None:
    code, outcome, reason, proba = cells(coded, name)
    assert code in ("51", "52") and outcome == "title" and proba < 0.75
    first, second = {"two, English": ("cook", "waiter"), "two, Polish": ("kucharz", "kelner"),
                     "two, German": ("Koch", "Kellner")}[name]  # fmt: skip
    assert reason == f"several jobs: {first}; {second}"


def test_one_job_of_two_words_stays_one(coded) -> None:
    code, _, reason, proba = cells(coded, "one of two words")
    assert (code, reason) == ("12", "") and proba > 0.5


@pytest.mark.parametrize("name", ["cookies", "expired", "a page to sign in"])
def test_a_page_that_is_no_ad(coded, name: str) -> None:
    _, outcome, reason, proba = cells(coded, name)
    assert outcome == "nothing" and reason.startswith("no ad: ") and proba < 0.5


def test_mark_up_and_long_texts(coded) -> None:
    assert cells(coded, "mark-up")[:2] == ("51", "ad") and cells(coded, "long")[:2] == ("51", "ad")
    assert cells(coded, "long title")[0] == "52"
    found = read_ad("\n".join(ROWS["mark-up"]))
    assert (found.title, found.body) == ("Cook", "Prepares meals\nboils & fries food")


PARTS = {
    "cook and waiter": ("cook", "waiter"),
    "Koch/Kellner": ("Koch", "Kellner"),
    "Koch & Kellner": ("Koch", "Kellner"),
    "повар и официант": ("повар", "официант"),
    "Secretary / Bookkeeper": (),  # two jobs without a question
    **dict.fromkeys(("cook", "m/w", "cook and cook", "Junior and Senior", "R & D", "Agents, en general"), ()),
}


@pytest.mark.parametrize(("title", "parts"), PARTS.items())
def test_what_may_be_two_jobs(title: str, parts: tuple[str, ...]) -> None:
    assert possible_jobs(title) == parts


def test_parts_are_jobs_only_where_the_model_is_sure_of_two_codes() -> None:
    known = {
        "cook": [0.8, 0.1, 0.05, 0.05],
        "waiter": [0.1, 0.8, 0.05, 0.05],
        "baker": [0.7, 0.1, 0.1, 0.1],
        "food": [0.25] * 4,
    }

    def ask(titles):
        return np.log(np.array([known[title] for title in titles]).reshape(-1, 4))

    titles = ["cook and waiter", "cook and baker", "food and waiter", "waiter", "cook oder waiter"]
    assert jobs_named(titles, ask) == [("cook", "waiter"), (), (), (), ()]
