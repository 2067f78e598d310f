"""A model that reads ads: title and body as evidence, texts without codes, bad input."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hjc
from hjc.calibration import fit_calibrator
from hjc.classifiers.ads import AdsClassifier
from hjc.classifiers.ads_remarks import Jobs
from hjc.classifiers.ads_settings import AdsSettings
from hjc.classifiers.body_languages import WINDOW, language_of, learnt_languages, read_known
from hjc.classifiers.linear_settings import LinearSettings
from hjc.data.jobdata import JobData
from hjc.errors import ModelDirError
from hjc.evaluation.validation import describe_validation
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
        ("Kierowca\n \n", "title", "Kierowca"),
        ("Specjalista ds. kadr [rekrutacja online]", "title", "Specjalista do spraw kadr"),
        ("Konsultant d/s sprzedaży z j. niemieckim", "title", "Konsultant do spraw sprzedaży"),
        ("Tłumacz języka niemieckiego", "title", "Tłumacz języka niemieckiego"),
        ("Z-ca kier. działu (m/k) - praca z domu", "title", "zastępca kierownik działu"),
        ("Customer Service Specialist with German", "title", "Customer Service Specialist"),
        ("DS Smith Operator", "title", "DS Smith Operator"),
        ("Kierowca\nbrak opisu", "title", "Kierowca"),
        ("Kierowca\n<p></p>", "title", "Kierowca"),
        ("Spawacz w Firmie ABC Sp. z o.o.", "title", "Spawacz"),
        ("Welder at Example Ltd.", "title", "Welder"),
        ("Accept all cookies\nThis website uses cookies. Please accept our cookie policy.", "nothing", ""),
        ("Ta strona używa plików cookie\nKlikając akceptuję zgadzasz się na pliki cookie.", "nothing", ""),
        ("404 Not Found\nThe page you requested could not be found.", "nothing", ""),
        ("Nurse\nThis vacancy has expired.", "title", "Nurse"),
        ("This vacancy has expired\nThe job you are looking for is no longer available.", "nothing", ""),
        ("Oferta wygasła\nTo ogłoszenie nie jest już aktualne.", "nothing", ""),
        ("Sign in\nWelcome back to your account.", "nothing", ""),
        ("Search results evaluator\nYou judge how well pages fit.", "ad", "Search results evaluator"),
        ("Sjúkraliði\nVið leitum að sjúkraliða til starfa á hjúkrunarheimili.", "ad", "Sjúkraliði"),
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
    assert made.fit_result.weights["whole"] == 0.95 and made.fit_result.weights["body"] == 0.15
    assert made.fit_result.rows_with_body == 12
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


def test_coded_ads_that_train_calibrate_too_by_models_that_have_not_seen_them(tree) -> None:
    texts, codes = noisy_bodies(120, seed=3)
    coded = JobData.from_lists(tree, texts, codes, sources=["coded"] * 120)
    train, valid = JobData.concat([labels(tree), coded.take(np.arange(20, 120))]), coded.take(np.arange(20))
    made = model(tree, least_validation=40).fit(train, valid)
    rows, log_proba = made.cross_fitted
    assert sorted(rows.texts) == sorted(texts[20:]) and made.fit_result.cross_fitted == 100
    assert np.exp(log_proba).sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert np.abs(log_proba - made.leaf_log_proba(rows.texts)).max() > 0.01  # not by the model that has seen them
    found = describe_validation(made, valid)
    by_hand = np.concatenate([made.leaf_log_proba(valid.texts), log_proba])
    again = fit_calibrator(tree, by_hand, np.concatenate([valid.gold, rows.gold]))
    assert len(found.scores) == 120 and again.kind == found.fit.kind
    np.testing.assert_allclose(found.calibrator.transform(by_hand), again.calibrator.transform(by_hand), atol=1e-5)
    alone = model(tree, least_validation=40, cross_calibrate=False).fit(train, valid)
    assert alone.cross_fitted is None and len(describe_validation(alone, valid).scores) == 20


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


def test_names_do_not_calibrate_a_model_that_reads_bodies(tree) -> None:
    names = JobData.from_lists(tree, ["chief nurse", "senior cook", "junior nurse"] * 40, ["21", "51", "22"] * 40)
    by_titles = model(tree).fit(labels(tree, bodies=False), names)
    assert by_titles.calibrated_by(names) and describe_validation(by_titles, names).fit.kind != "identity"
    reads = model(tree).fit(labels(tree), names)
    found = describe_validation(reads, names)
    assert not reads.calibrated_by(names) and list(found.choice["kind"]) == ["identity"] and len(found.scores) == 120
    coded = JobData.from_lists(tree, *ads(30))
    assert reads.calibrated_by(JobData.concat([names, coded]))


GERMAN = "Sie bereiten die Speisen für die Gäste zu und sind mit der Bestellung der Waren in der Küche betraut."


def test_a_body_in_a_language_of_which_none_was_learnt_is_not_read(tree, tmp_path: Path) -> None:
    english = " and is with the team of our company, so that you have a good day at the work that we do for you"
    texts = [text + english for text in ads(24)[0]]
    made = model(tree).fit(JobData.concat([labels(tree), JobData.from_lists(tree, texts, ads(24)[1])]))
    assert made.body_languages == ("en",)
    made.save_pretrained(tmp_path / "m")
    again = hjc.load(tmp_path / "m")
    ((_, found, outcomes),) = again.iter_outcomes(
        [f"Nurse\n{GERMAN}", f"Nurse\nShe cares for patients.{english}", GERMAN]
    )
    assert outcomes[0] == ("title", "body not read: in de, of which no body was learnt")
    assert [kind for kind, _ in outcomes] == ["title", "ad", "body"]
    np.testing.assert_allclose(found[0], made.leaf_log_proba(["Nurse"])[0], atol=1e-6)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["parameters"]["body_languages"] = "en"
    del config["content_sha256"]
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelDirError, match="body_languages"):
        hjc.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("body", "language"),
    [(GERMAN, "de"), ("Готує страви та замовляє продукти", "cyrillic"), ("meals, Speisen", ""), ("", "")],
)
def test_the_language_of_a_body(body: str, language: str) -> None:
    assert language_of(body) == language
    assert learnt_languages([body] * 5) == ((language,) if language else ()) and learnt_languages([body] * 4) == ()


def test_scripts_that_stand_together_and_letters_in_disguise() -> None:
    english = "We look for a nurse, who is to be with the team of our clinic and care for patients in the wards"
    bold = "".join(chr(0x1D41A + ord(c) - ord("a")) if c.islower() else c for c in english)  # as on social media
    assert language_of(bold) == language_of(english) == "en"
    assert (
        language_of("当社は看護師を募集しています")
        == language_of("クリニックのスタッフ")
        == language_of("看護師募集")
        == "cjk"
    )


def test_what_the_table_says_of_short_bodies_counts_and_a_mixed_body_is_read() -> None:
    english = "You are to be with the team of our clinic and you care for the patients in our wards. "
    polish = "Praca w szpitalu, opieka nad pacjentami oraz wykonywanie zabiegów, które są zlecone przez lekarza. "
    assert learnt_languages([english] * 9 + ["opieka"] * 9, ["en", *["pl_PL"] * 8, "nb"] + ["NN"] * 4) == (
        "en", "no", "pl",
    )  # fmt: skip
    assert learnt_languages(["opieka"] * 9, ["pl"] * 9) == ()
    foreign, mixed = f"Nurse\n{english * 9}", f"Nurse\n{english * 9}{polish * 9}"
    assert read_known(foreign, ("pl",)).kind == "title" and read_known(mixed, ("pl",)).kind == "ad"
    assert len(read_known(mixed, ("pl",)).body) > 2 * WINDOW


def test_the_jobs_of_a_title_are_looked_for_once() -> None:
    asked: list[str] = []

    def ask(titles):
        asked.extend(titles)
        return np.log(np.array([[0.9, 0.1] if "ook" in title else [0.1, 0.9] for title in titles]))

    jobs = Jobs(ask)
    for _ in range(2):
        assert jobs.of(["Cook and waiter", "Cook", "Cook and waiter"]) == [("Cook", "waiter"), (), ("Cook", "waiter")]
    assert asked == ["Cook", "waiter"]


def test_parts_are_further_evidence(tree) -> None:
    from hjc.classifiers.linear import LinearClassifier
    from hjc.data import TextRecipe

    part = LinearClassifier(tree, LinearSettings(min_df=1)).fit(labels(tree, bodies=False))
    part.recipe = TextRecipe(("title",))
    made = AdsClassifier(tree, model(tree).settings, [part]).fit(labels(tree))
    assert made.weights.tolist() == pytest.approx([0, 0.075, 0.475, 0.5])
    text = "Nurse\nDuties: care for patients."
    pieces = made._pieces([read_ad(text)])
    expected = sum(w * p for w, p in zip(made.weights, pieces, strict=True))
    np.testing.assert_array_equal(pieces[3], part.leaf_log_proba(["Nurse"]))
    np.testing.assert_allclose(
        made.leaf_log_proba([text]), expected - np.log(np.exp(expected).sum()), atol=1e-4
    )  # fmt: skip
    other = from_edges(["1", "2"], ["", ""])
    with pytest.raises(ValueError, match=r"part 0 .linear.: only 0 of 6 codes .* or a coarser one"):
        AdsClassifier(other, parts=[part])


def test_a_part_of_a_coarser_tree_is_a_factor_of_the_codes_below(tree, tmp_path: Path) -> None:
    from hjc.classifiers.coarser import Coarser
    from hjc.classifiers.linear import LinearClassifier

    # 2 and 5 are leaves of both; of 8 the fine tree has 81 and 82, the coarse one 81 and 83; 9 is only in the fine one
    fine = from_edges(["2", "5", "8", "9", *JOBS, "91"], ["", "", "", "", *(c[0] for c in JOBS), "9"])
    coarse = from_edges(["2", "5", "8", "81", "83"], ["", "", "", "8", "8"])
    found = Coarser.of(fine, coarse).evidence(np.log([[0.4, 0.3, 0.2, 0.1]]))
    codes = [fine.codes[i] for i in fine.leaves.tolist()]
    by_hand = {"21": 0.4, "22": 0.4, "51": 0.3, "52": 0.3, "81": 0.2, "82": 0.1, "91": 0.25}
    np.testing.assert_allclose(np.exp(found[0]), [by_hand[code] for code in codes], atol=1e-6)

    upper = from_edges(["2", "5", "8"], ["", "", ""])
    texts, own = [name for name, _ in JOBS.values()] * 2, [code[0] for code in JOBS] * 2
    part = LinearClassifier(upper, LinearSettings(min_df=1)).fit(JobData.from_lists(upper, texts, own))
    made = AdsClassifier(tree, model(tree).settings, [part]).fit(labels(tree))
    assert made.weights.tolist() == [0, 0.15, 0.95, 0.2]
    assert right(made, *ads(60)) == 1.0
    made.save_pretrained(tmp_path / "m")
    again = hjc.load(tmp_path / "m")
    np.testing.assert_array_equal(again.leaf_log_proba(["Nurse"]), made.leaf_log_proba(["Nurse"]))


def test_coded_ads_say_how_usual_codes_are(tree) -> None:
    """A code list names every code as often; of these ads one title is nearly always one of two codes."""
    names = JobData.from_lists(tree, ["helper nurse", "helper doctor", *(n for n, _ in JOBS.values())] * 3,
                               ["21", "22", *JOBS] * 3)  # fmt: skip
    rng = np.random.default_rng(3)
    codes = rng.choice(["22", "21", *list(JOBS)[2:]], 150, p=[0.55, 0.05, 0.1, 0.1, 0.1, 0.1]).tolist()
    texts = ["Helper\nDuties: all kinds of work." if c < "3" else f"{JOBS[c][0]}\nDuties: {JOBS[c][1]}." for c in codes]
    coded = JobData.from_lists(tree, texts, codes, sources=["coded"] * 150)
    held = coded.take(np.arange(30))
    made = model(tree).fit(JobData.concat([names, coded.take(np.arange(30, 150))]), held)
    first, *tried = made.fit_result.usual
    assert first["precision"] == float("inf") and {line["precision"] for line in tried} == {1.0, 4.0, 16.0}
    passing = [line for line in tried if line["passes"]]
    assert bool(made.offsets.any()) == bool(passing)
    assert not passing or min(line["log_loss"] for line in passing) < first["log_loss"]


def test_a_model_that_is_fitted_again_keeps_nothing(tree) -> None:
    once, again = model(tree).fit(labels(tree)), model(tree)
    again.offsets[0] = again.background[1] = 3.0
    again.fit(labels(tree))
    assert not again.offsets.any() and not again.background.any()
    np.testing.assert_array_equal(again.leaf_log_proba(["nurse"]), once.leaf_log_proba(["nurse"]))


def test_offsets_are_those_of_the_greatest_posterior(tree) -> None:
    """Against the objective written out plainly: no step of any node makes it better."""
    from hjc.classifiers.combine import Rows
    from hjc.classifiers.usual import fit_offsets, fit_usual

    rng = np.random.default_rng(0)
    log_proba = np.log(rng.dirichlet(np.ones(6), 80)).astype(np.float32)
    gold = tree.encode(rng.choice(["21", "51", "8"], 80).tolist())
    leaf = fit_offsets(Rows.make(tree, [log_proba], gold), tree, 2.0)
    allowed = [[tree.codes[i].startswith(tree.codes[g]) for i in tree.leaves.tolist()] for g in gold.tolist()]
    under = np.array([[tree.codes[i].startswith(code) for i in tree.leaves.tolist()] for code in tree.codes], float)

    def cost(b) -> float:
        scores = np.exp(log_proba + b @ under)
        p = (scores * allowed).sum(axis=1) / scores.sum(axis=1)
        return float(-np.log(p).sum() + b @ b)  # precision 2, halved

    # least squares of the offsets of nodes that give these of leaves: the posterior's own split
    b = under @ np.linalg.solve(under.T @ under, leaf.astype(float))
    best = cost(b)
    for node in range(len(tree)):
        for step in (-0.05, 0.05):
            assert cost(b + step * np.eye(len(tree))[node]) > best
    few = fit_usual(tree, log_proba[:6], gold[:6])
    assert not few.offsets.any() and not few.table


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
    assert [line["how"] for line in made.fit_result.rounds] == ["names", "background", "surest"]
    for line in made.fit_result.rounds:
        assert line["measure"] == "log-likelihood of coded ads"
        assert not line["kept"] or line["after"] > line["before"]
    names, _, first = made.fit_result.rounds
    assert not names["kept"]
    assert not first["kept"] and first["after"] < first["before"]


def test_without_coded_ads_only_titles_that_are_names_teach_unless_more_is_asked_for(tree, caplog) -> None:
    made = model(tree)
    texts = ads(120, seed=9, titled=0.5)[0]
    made.unlabelled = texts
    made.fit(labels(tree))
    of_names = sum(not text.startswith("Great") for text in texts)
    assert f"of 120 ads without codes only those are learnt from whose title is the name of one code ({of_names})" in (
        caplog.text
    )
    (line,) = made.fit_result.rounds
    assert (line["how"], line["rows"], line["kept"]) == ("names", of_names, True)
    found, codes = ads(60, seed=5, titled=0.0)
    plain = model(tree).fit(labels(tree, bodies=False))
    taught = model(tree, least_bodies=0)
    taught.unlabelled = texts
    taught.fit(labels(tree, bodies=False))  # titles are all it knew: bodies were read at names
    assert right(taught, found, codes) > right(plain, found, codes) + 0.3
    few = model(tree)
    few.unlabelled = texts
    few.fit(labels(tree, bodies=False), JobData.from_lists(tree, *ads(8, seed=1)))
    assert few.fit_result.rounds and "coded ads" not in few.fit_result.weights_from  # 8 are too few to weigh
    none = model(tree, self_names=False)
    none.unlabelled = texts
    none.fit(labels(tree))
    assert not none.fit_result.rounds
    np.testing.assert_array_equal(
        none.leaf_log_proba(found), model(tree).fit(labels(tree)).leaf_log_proba(found)
    )  # fmt: skip
    asked = model(tree, unlabelled_stop="agreement")
    asked.unlabelled = texts
    rounds = asked.fit(labels(tree)).fit_result.rounds
    assert [(line["how"], line["measure"][:9]) for line in rounds] == [
        ("names", "agreement"), ("background", "agreement"), ("surest", "agreement")
    ]  # fmt: skip


def test_an_ad_that_trains_with_its_code_is_not_learnt_from_again(tree) -> None:
    texts, codes = ads(40)
    made = model(tree)
    made.unlabelled = [*texts, "Cook\nDuties: fry, boil and season."]
    made.fit(JobData.concat([labels(tree), JobData.from_lists(tree, texts, codes)]))
    assert made.fit_result.unlabelled == 1


def test_a_name_of_two_codes_teaches_nothing(tree) -> None:
    from hjc.classifiers.read_rows import ReadRows
    from hjc.classifiers.uncoded import named

    rows = ReadRows.of(JobData.from_lists(tree, ["nurse", "Nurse", "cook", "COOK", "welder\nDuties: weld metal parts."],
                                          ["21", "22", "51", "51", "82"]))  # fmt: skip
    found = [read_ad(text) for text in ("Nurse (m/w/d)", "cook - 3000 EUR\nDuties: fry and boil food.", "welder", "")]
    at, nodes = named(found, rows)
    assert at.tolist() == [1] and [tree.codes[i] for i in nodes.tolist()] == ["51"]


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
