"""A model that reads ads: title and body as evidence, texts without codes, bad input."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hjc
from hjc.classifiers.ads import AdsClassifier
from hjc.classifiers.ads_settings import AdsSettings
from hjc.classifiers.linear_settings import LinearSettings
from hjc.data.jobdata import JobData
from hjc.errors import ModelDirError
from hjc.rerank.ads import jobs_of, read_ad, without_company
from hjc.taxonomy import from_edges

JOBS = {
    "21": ("nurse", "cares for patients on the ward and gives them medicine"),
    "22": ("doctor", "examines patients, finds diseases and writes prescriptions"),
    "51": ("cook", "prepares meals in a kitchen, fries, boils and seasons food"),
    "52": ("waiter", "serves guests at their tables and takes orders"),
    "81": ("driver", "drives a lorry, loads pallets and keeps the logbook"),
    "82": ("welder", "joins metal parts with an arc and grinds the seams"),
}
NOISE = ["we offer a friendly team", "our company grows", "send us your application", "free coffee and fruit"]


@pytest.fixture(scope="module")
def tree():
    return from_edges(["2", "5", "8", *JOBS], ["", "", "", *(code[0] for code in JOBS)])


def ads(n: int, seed: int = 0, titled: float = 1.0) -> tuple[list[str], list[str]]:
    """Ads of known jobs: title with noise, body with the words of the job and boilerplate."""
    rng, texts, codes = np.random.default_rng(seed), [], []
    for i in range(n):
        code = list(JOBS)[i % len(JOBS)]
        name, work = JOBS[code]
        title = f"{name.title()} (m/f/d) - {1800 + i} EUR" if rng.random() < titled else "Great job for you"
        words = work.split()
        rng.shuffle(words)
        texts.append(f"{title}\nDuties: {' '.join(words)}. {rng.choice(NOISE)}.")
        codes.append(code)
    return texts, codes


def labels(tree, bodies: bool = True) -> JobData:
    texts = [f"{kind} {name}".strip() for name, _ in JOBS.values() for kind in ("", "senior", "chief", "junior")]
    codes = [code for code in JOBS for _ in range(4)]
    if bodies:
        texts += [f"{name}\n{work}" for name, work in JOBS.values()] * 2
        codes += list(JOBS) * 2
    return JobData.from_lists(tree, texts, codes)


def model(tree, **more) -> AdsClassifier:
    linear = LinearSettings(min_df=1, char_ngrams=[2, 4])
    return AdsClassifier(tree, AdsSettings(linear=linear, **{"least_bodies": 5, "least_validation": 12, **more}))


def right(made: AdsClassifier, texts, codes) -> float:
    found = [made.taxonomy.codes[i] for i in made.taxonomy.leaves[made.leaf_log_proba(texts).argmax(axis=1)].tolist()]
    return float(np.mean([a == b for a, b in zip(found, codes, strict=True)]))


# ---------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("text", "kind", "title"),
    [
        ("Elektriker (m/w/d)", "title", "Elektriker"),
        ("Nurse (Berlin) - 3000 EUR\nDuties: care for patients and give them their medicine.", "ad", "Nurse"),
        ("We are looking for somebody who cleans offices, windows and floors every evening in our town.", "body", ""),
        ("Muster GmbH", "nothing", ""),
        ("Muster GmbH\nDuties: weld metal parts and grind the seams of them.", "body", ""),
        ("Driver - Trans Sp. z o.o.", "title", "Driver"),
        ("", "nothing", ""),
        ("\n\n", "nothing", ""),
        ("2024-11", "nothing", ""),
        ("看護師", "title", "看護師"),
    ],
)
def test_reading(text: str, kind: str, title: str) -> None:
    found = read_ad(text)
    assert (found.kind, found.title) == (kind, title)
    assert ("company" in found.note) == ("Muster" in text)


def test_an_ad_without_its_title_has_a_first_line_without_words() -> None:
    found = read_ad("We are looking for somebody who cleans offices, windows and floors every evening in our town.")
    assert found.text.splitlines()[0] == "-" and "windows" in found.text.splitlines()[1]


@pytest.mark.parametrize(
    ("title", "jobs"),
    [
        ("Secretary / Bookkeeper", ("Secretary", "Bookkeeper")),
        ("Kucharz lub pomoc kuchenna", ("Kucharz", "pomoc kuchenna")),
        ("Senior/Regular Java Developer", ()),
        ("UX/UI Designer", ()),
        ("Nurse / nurse", ()),
        ("Nurse", ()),
    ],
)
def test_several_jobs(title: str, jobs: tuple[str, ...]) -> None:
    assert jobs_of(title) == jobs


def test_the_name_of_a_company_goes_and_words_that_look_like_one_stay() -> None:
    assert without_company("BRW SA - Warehouse worker") == "Warehouse worker"
    assert without_company("sales as a service") == "sales as a service" and without_company("se") == "se"


# ---------------------------------------------------------------------- evidence


def test_without_bodies_in_training_ads_are_coded_by_the_title_alone(tree) -> None:
    made = model(tree).fit(labels(tree, bodies=False))
    assert made.fit_result.weights == {"title": 1.0, "body": 0.0, "whole": 0.0}
    texts, _ = ads(20)
    own = made.leaf_log_proba([read_ad(text).title for text in texts])
    np.testing.assert_allclose(made.leaf_log_proba(texts), own, atol=1e-6)


def test_with_bodies_the_whole_is_taken_and_helps_where_titles_say_nothing(tree) -> None:
    made = model(tree).fit(labels(tree))
    assert made.fit_result.weights["whole"] == 1.0 and made.fit_result.rows_with_body == 12
    texts, codes = ads(60, titled=0.5)
    assert right(made, texts, codes) > right(made, [t.splitlines()[0] for t in texts], codes) + 0.2
    assert right(made, texts, codes) == 1.0


def test_weights_are_fitted_on_ads_and_give_the_log_linear_formula(tree) -> None:
    texts, codes = ads(48, titled=0.5)
    made = model(tree).fit(labels(tree), JobData.from_lists(tree, texts, codes))
    # 12 labels with bodies have the same (no) source as the validation rows: they help, by models without them
    assert "60 coded ads with title and body" in made.fit_result.weights_from and (made.weights >= 0).all()
    assert made.weights[1:].any() and made.title_weights[0] > 0 and not made.title_weights[1:].any()
    some = ads(12, seed=3, titled=0.5)[0]
    read = [read_ad(text) for text in some]
    pieces = [
        made.linear.leaf_log_proba(part)
        for part in ([ad.title for ad in read], ["-\n" + ad.body for ad in read], [ad.text for ad in read])
    ]
    score = sum(w * p.astype(float) for w, p in zip(made.weights, pieces, strict=True))
    expected = score - np.log(np.exp(score).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(made.leaf_log_proba(some), expected, atol=1e-4)


def noisy_bodies(n: int, seed: int) -> tuple[list[str], list[str]]:
    """Ads whose titles are wrong now and then, and whose bodies are words of any job."""
    rng = np.random.default_rng(seed)
    every = [word for _, work in JOBS.values() for word in work.split()]
    codes = rng.choice(list(JOBS), n).tolist()
    said = [code if rng.random() < 0.8 else str(rng.choice(list(JOBS))) for code in codes]
    bodies = [" ".join(rng.choice(every, 40).tolist()) for _ in codes]
    return [f"{JOBS[c][0].title()} {i}\nDuties: {b}." for i, (c, b) in enumerate(zip(said, bodies, strict=True))], codes


@pytest.mark.slow
@pytest.mark.parametrize("n", [40, 150, 400])
@pytest.mark.parametrize("seed", range(3))
def test_a_body_that_says_nothing_never_costs_half_a_point(tree, n: int, seed: int) -> None:
    """The rule: by title and body no fewer are right, at any level, than by the title alone."""
    texts, codes = noisy_bodies(n, seed)
    coded = JobData.from_lists(tree, texts, codes, sources=["coded"] * n)
    held = n // 5
    train = JobData.concat([labels(tree), coded.take(np.arange(held, n))])
    made = model(tree).fit(train, coded.take(np.arange(held)))
    texts, codes = noisy_bodies(600, seed + 100)
    gold = np.array([tree.index_of[code] for code in codes])
    found = [made.leaf_log_proba(some) for some in (texts, [t.splitlines()[0] for t in texts])]
    for level in (1, 2):
        best = [tree.level_nodes(level)[tree.aggregate(p, level).argmax(axis=1)] for p in found]
        whole, title = ((b == tree.node_path[gold, level - 1]).mean() for b in best)
        assert whole >= title - 0.005, (level, made.fit_result)


def test_a_body_is_weighed_by_rows_that_trained_where_few_validate_and_by_none_without_folds(tree) -> None:
    texts, codes = ads(120, titled=0.5)
    coded = JobData.from_lists(tree, texts, codes, sources=["coded"] * 120)
    train = JobData.concat([labels(tree), coded.take(np.arange(20, 120))])
    made = model(tree, least_validation=40).fit(train, coded.take(np.arange(20)))
    assert made.fit_result.weights_from.startswith("120 coded ads") and made.fit_result.steps[0]["step"] == 0
    assert right(made, *ads(60, seed=7, titled=0.5)) == 1.0
    few = model(tree, least_validation=40, cross_fit=0).fit(train, coded.take(np.arange(20)))
    assert few.fit_result.weights_from == "training texts had bodies"


@pytest.mark.parametrize("same", [True, False])
def test_coded_ads_that_cannot_be_parted_or_are_too_few_do_not_weigh(tree, same: bool) -> None:
    texts, codes = ads(60 if same else 12)
    coded = JobData.from_lists(tree, texts, codes, groups=[1] * len(texts) if same else None)
    few = JobData.from_lists(tree, *ads(6, seed=4), groups=[2] * 6)
    made = model(tree, least_validation=40).fit(coded, few)
    assert made.fit_result.weights_from == "training texts had bodies" and not made.fit_result.steps


def test_two_jobs_share_the_probability(tree) -> None:
    made = model(tree).fit(labels(tree, bodies=False))
    proba = np.exp(made.leaf_log_proba(["Nurse / Welder"])[0])
    each = np.exp(made.leaf_log_proba(["Nurse", "Welder"]))
    top = {made.taxonomy.codes[i] for i in made.taxonomy.leaves[np.argsort(-proba)[:2]].tolist()}
    assert top == {"21", "82"} and proba.sum() == pytest.approx(1, abs=1e-5)
    assert proba.max() < each.max()


def test_outcomes_say_what_a_text_was_read_as(tree) -> None:
    made = model(tree).fit(labels(tree))
    texts = ["Nurse / Welder", "Nurse\nDuties: care for patients.", "Muster GmbH", ""]
    outcomes = [("", "")] * 4
    for rows, log_proba, found in made.iter_outcomes(texts):
        assert np.isfinite(log_proba).all()
        for i, outcome in zip(rows.tolist(), found, strict=True):
            outcomes[i] = outcome
    assert [kind for kind, _ in outcomes] == ["title", "ad", "nothing", "nothing"]
    assert outcomes[0][1] == "several jobs: Nurse; Welder" and "company" in outcomes[2][1]


def test_parts_are_further_evidence(tree) -> None:
    from hjc.classifiers.linear import LinearClassifier
    from hjc.data import TextRecipe

    part = LinearClassifier(tree, LinearSettings(min_df=1)).fit(labels(tree, bodies=False))
    part.recipe = TextRecipe(("title",))
    made = AdsClassifier(tree, model(tree).settings, [part]).fit(labels(tree))
    assert made.weights.tolist() == [0, 0, 0.5, 0.5]
    text = "Nurse\nDuties: care for patients."
    alone = model(tree).fit(labels(tree)).leaf_log_proba([text]) + part.leaf_log_proba(["Nurse"])
    expected = alone / 2 - np.log(np.exp(alone / 2).sum())
    np.testing.assert_allclose(made.leaf_log_proba([text]), expected, atol=1e-4)
    other = from_edges(["1", "2"], ["", ""])
    with pytest.raises(ValueError, match="all parts need the same tree"):
        AdsClassifier(other, parts=[part])


# ---------------------------------------------------------------------- ads without codes


def test_uncoded_ads_teach_words_that_no_label_has(tree) -> None:
    made = model(tree, self_share=1.0, least_bodies=0, unlabelled_stop="never")
    made.unlabelled = ads(240)[0]
    made.fit(labels(tree, bodies=False))
    plain = model(tree, least_bodies=0).fit(labels(tree, bodies=False))
    texts, codes = ads(60, seed=5, titled=0.0)
    assert right(made, texts, codes) > right(plain, texts, codes) + 0.3
    assert made.fit_result.unlabelled == 240 and all(line["kept"] for line in made.fit_result.rounds)


def test_what_does_not_make_coded_ads_surely_more_probable_is_undone(tree) -> None:
    texts, codes = ads(48)
    made = model(tree)
    made.unlabelled = ads(120, seed=9)[0]
    worse = JobData.from_lists(tree, texts, [list(JOBS)[(list(JOBS).index(c) + 1) % 6] for c in codes])
    made.fit(labels(tree), worse)  # codes that contradict the labels: learning surer is wronger
    background, first = made.fit_result.rounds
    assert first["measure"] == background["measure"] == "log-likelihood of coded ads"
    for line in (background, first):
        assert not line["kept"] or line["after"] > line["before"]
    assert not first["kept"] and first["after"] < first["before"]


def test_without_coded_ads_uncoded_ones_are_not_learnt_from_unless_that_is_asked_for(tree, caplog) -> None:
    plain = model(tree).fit(labels(tree))
    made = model(tree)
    made.unlabelled = ads(120, seed=9)[0]
    made.fit(labels(tree))
    assert "120 ads without codes are not learnt from" in caplog.text and not made.fit_result.rounds
    texts = ads(12)[0]
    np.testing.assert_array_equal(made.leaf_log_proba(texts), plain.leaf_log_proba(texts))
    asked = model(tree, unlabelled_stop="agreement")
    asked.unlabelled = ads(120, seed=9)[0]
    assert [line["measure"][:9] for line in asked.fit(labels(tree)).fit_result.rounds] == ["agreement"] * 2


# ---------------------------------------------------------------------- the directory and the commands


def test_the_directory_gives_the_same_numbers_and_damage_is_an_error(tree, tmp_path: Path) -> None:
    made = model(tree, unlabelled_stop="never")
    made.unlabelled = ads(60)[0]
    made.fit(labels(tree))
    made.save_pretrained(tmp_path / "m")
    again = hjc.load(tmp_path / "m")
    texts = [*ads(12)[0], "Nurse", ""]
    np.testing.assert_allclose(again.leaf_log_proba(texts), made.leaf_log_proba(texts), atol=1e-6)
    assert again.background.any() and again.settings == made.settings
    (tmp_path / "m" / "evidence.safetensors").write_bytes(b"no")
    with pytest.raises(ModelDirError):
        hjc.load(tmp_path / "m")


def write(path: Path, texts: list[str], codes: list[str] | None = None) -> Path:
    split = [text.partition("\n") for text in texts]
    frame = pd.DataFrame({"title": [a for a, _, _ in split], "body": [c for _, _, c in split]})
    if codes is not None:
        frame["code"] = codes
    frame.to_csv(path, index=False)
    return path


def test_a_run_learns_from_uncoded_files_and_leaves_test_texts_out(tree, tmp_path: Path, call) -> None:
    from hjc.taxonomy import write_taxonomy_csv
    from hjc.training.config import compose
    from hjc.training.workflow import run_training

    write_taxonomy_csv(tree, tmp_path / "tree.csv")
    data = labels(tree)
    write(tmp_path / "train.csv", list(data.texts), list(data.codes))
    texts, codes = ads(30, seed=2)
    write(tmp_path / "test.csv", texts, codes)
    write(tmp_path / "more.csv", [*ads(60)[0], *texts, ""])
    more = ("model.linear.min_df=1", "model.least_bodies=5")
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    columns, path = "data.text_columns=[title,body]", f"taxonomy.path={tmp_path / 'tree.csv'}"
    quick = ["evaluation=quick", "evaluation.report=false", "data.valid_fraction=0"]
    uncoded = f"data.unlabelled=[{tmp_path / 'more.csv'}]"
    common = ["data=csv", f"data.train=[{train}]", f"data.test=[{test}]", columns, path, uncoded, *quick]
    run_training(compose(["model=ads", *more, f"run_dir={tmp_path / 'run'}", *common]))
    import yaml

    record = yaml.safe_load((tmp_path / "run" / "train.yaml").read_text())
    assert record["training"]["unlabelled"] == 60
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["classifier"] == "ads" and config["recipe"]["columns"] == ["title", "body"]
    code, _, _ = call("predict", tmp_path / "run", tmp_path / "test.csv", "-o", tmp_path / "coded.csv")
    coded = pd.read_csv(tmp_path / "coded.csv", dtype=str)
    assert code == 0 and coded["hjc_outcome"].eq("ad").all() and coded["hjc_level2_code_1"].eq(coded["code"]).all()
    with pytest.raises(ValueError, match=r"cannot learn from texts without codes .* models of ads"):
        run_training(compose(["model=linear", "model.min_df=1", f"run_dir={tmp_path / 'other'}", *common]))


@pytest.mark.parametrize("bad", [{"balance": 2.0}, {"self_share": 0.0}, {"hierarchy": "pathsum"}, {"least_bodies": -1}])
def test_settings_out_of_range(bad) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        AdsSettings(**bad)
