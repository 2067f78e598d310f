# ruff: noqa: E501 (texts of definitions, and commands)
"""Training texts from a taxonomy: passages, discrimination, policies, caps and counts."""

import json
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hjc.cli import app
from hjc.corpus.discrimination import discrimination
from hjc.corpus.from_taxonomy import TaxonomyTexts, read_imported, texts_from_taxonomy
from hjc.corpus.passages import Exclusion, split_description
from hjc.corpus.shared_labels import Candidate, resolve_shared
from hjc.errors import TaxonomyError
from hjc.taxonomy import from_edges

# ---------------------------------------------------------------------------------------------- passages

STREET = (
    "Street workers provide services on streets. Tasks include - (a) obtaining materials; (b) cleaning shoes; "
    "(c) receiving immediate payment. Examples of the occupations classified here: - Car guard - Shoe-polisher "
    "Some related occupations classified elsewhere: - Service station attendant - 5245 - Deliverer (paper) - 9621"
)


@pytest.mark.parametrize(
    "text", [STREET, STREET.replace(" - (", "\n(").replace(" - ", "\n- ").replace("\n- 52", " - 52")]
)
def test_isco_definition(text):
    parts = split_description(text.replace("\n- 9621", " - 9621"))
    assert parts.text == "Street workers provide services on streets."
    assert parts.tasks == ("obtaining materials", "cleaning shoes", "receiving immediate payment")
    assert parts.examples == ("Car guard", "Shoe-polisher")
    assert parts.exclusions == (Exclusion("Service station attendant", "5245"), Exclusion("Deliverer (paper)", "9621"))


def test_notes_refer_to_other_groups_and_to_their_own():
    text = (
        "Lead. Note Regional managers are included in Unit Group 1120: Managing Directors. For example, regional sales "
        "managers are classified in Unit Group 1221: Sales Managers. Engineers not classified elsewhere stay."
    )
    at_1120 = split_description(text, related=lambda code: code == "1120")
    assert at_1120.exclusions == (Exclusion("regional sales managers", "1221"),)
    assert (
        at_1120.notes.startswith("Regional managers are included") and "not classified elsewhere stay" in at_1120.notes
    )
    elsewhere = split_description(text, related=lambda code: False)
    assert [e.target for e in elsewhere.exclusions] == ["1120", "1221"]


@pytest.mark.parametrize(
    ("text", "language", "kept", "exclusions"),
    [
        ("Armed forces. Excluded from this group are: - police (other than military); - customs inspectors.", "en",
         "Armed forces.", [("police (other than military)", ""), ("customs inspectors", "")]),
        ("Plan services. Excludes “Facilities Managers” (11-3013) and “Purchasing Managers” (11-3061).", "en",
         "Plan services.", [("Facilities Managers", "11-3013"), ("Purchasing Managers", "11-3061")]),
        ("Excludes navigator (0110.1.1).\nExcludes design of puppets.", "en", "",
         [("navigator", "0110.1.1"), ("design of puppets", "")]),
        ("Leder. Hit hör inte Butikschef (1730) Säljande butikschef (5222)", "sv", "Leder.",
         [("Butikschef", "1730"), ("Säljande butikschef", "5222")]),
        ("Leder. Hit hör inte Butikschef (1730)", "de", "Leder. Hit hör inte Butikschef (1730)", []),
        ("Leczy (z wyłączeniem metod chirurgicznych) choroby.", "pl", "Leczy (z wyłączeniem metod chirurgicznych) choroby.", []),
        ("They excel. Includes the excluded people.", "en", "They excel. Includes the excluded people.", []),
    ],
)  # fmt: skip
def test_exclusions(text, language, kept, exclusions):
    parts = split_description(text, language)
    assert parts.text == kept and [(e.text, e.target) for e in parts.exclusions] == exclusions


@given(st.text(max_size=300), st.sampled_from(["en", "sv", "pl", ""]))
def test_any_text_is_cut_without_error(text, language):
    parts = split_description(text, language)
    if not parts.exclusions and not parts.tasks and not parts.examples and not parts.notes and not parts.children:
        assert "".join(parts.text.split()) in "".join(text.split())


# ---------------------------------------------------------------------------------------------- discrimination


def test_entropy_of_known_cases():
    codes = [f"c{i}" for i in range(8)]
    features, where = ["all"] * 8 + ["one"] + ["half"] * 4, [*codes, "c0", *codes[:4]]
    found = discrimination(features, where)
    assert found.features == ("one", "half", "all") and found.codes.tolist() == [1, 4, 8]
    np.testing.assert_allclose(found.entropy, [0, 2 / 3, 1])
    np.testing.assert_allclose(found.gain, [math.log(8), math.log(2), 0], atol=1e-12)
    assert found.generic(0.9) == {"all"} and found.generic(0.5) == {"all", "half"} and found.generic(1.0) == frozenset()


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("uvwxyz"), st.floats(1, 5)), min_size=1, max_size=40))
def test_entropy_is_the_plain_formula(rows):
    features, codes, values = zip(*rows, strict=True)
    found = discrimination(features, codes, values)
    n = len(set(codes))
    for f, h, gain in zip(found.features, found.entropy.tolist(), found.gain.tolist(), strict=True):
        weights: Counter[str] = Counter()
        for feature, code, value in rows:
            if feature == f:
                weights[code] += max(value - 3, 0)  # type: ignore[assignment]
        total = sum(weights.values())
        plain = -sum(w / total * math.log(w / total) for w in weights.values() if w > 0) if total else 0
        assert h == pytest.approx(plain / math.log(n) if n > 1 else 0, abs=1e-9)
        assert gain == pytest.approx(math.log(n) - plain, abs=1e-9)


def test_discrimination_wants_pairs():
    with pytest.raises(ValueError, match="expected the same"):
        discrimination(["a"], [])
    with pytest.raises(ValueError, match="no pair"):
        discrimination([], [])


# ---------------------------------------------------------------------------------------------- shared labels

TREE = from_edges(
    ["1", "11", "12", "2"], ["", "1", "1", ""],
    titles={"en": {"1": "Managers", "11": "Shop managers", "12": "Bar managers", "2": "Officers"}},
    descriptions={"en": {"11": "Shop managers run the shops of a firm. Excludes butcher (12)."}}, name="tiny",
)  # fmt: skip


def candidates(*rows):
    return [Candidate(text, code, "en", source, times=times) for text, code, source, times in rows]


def test_policies():
    given_ = candidates(
        ("boss", "11", "alternative", 3), ("Boss", "12", "alternative", 1), ("chief", "2", "alternative", 1)
    )
    assert [c.text for c in resolve_shared(TREE, given_, "drop")[0]] == ["chief"]
    kept, weights, lost = resolve_shared(TREE, given_, "keep_all")
    assert weights == [0.5, 0.5, 1.0] and len(kept) == 3 and not lost
    kept, weights, lost = resolve_shared(TREE, given_, "most_frequent")
    assert [(c.text, c.code) for c in kept] == [("boss", "11"), ("chief", "2")] and weights == [1, 1] and len(lost) == 1
    tie = candidates(("boss", "11", "alternative", 1), ("boss", "12", "alternative", 1))
    assert resolve_shared(TREE, tie, "most_frequent")[0] == []
    own = candidates(("boss", "11", "alternative", 1), ("boss", "12", "title", 1))
    assert [c.code for c in resolve_shared(TREE, own, "most_frequent")[0]] == ["12"]


@pytest.mark.parametrize("policy", ["drop", "keep_all", "most_frequent"])
def test_codes_on_one_path_do_not_disagree(policy):
    given_ = candidates(("boss", "1", "title", 1), ("boss", "12", "alternative", 1))
    kept, weights, lost = resolve_shared(TREE, given_, policy)
    assert [c.code for c in kept] == ["12"] and weights == [1.0] and [c.code for c, _ in lost] == ["1"]


# ---------------------------------------------------------------------------------------------- the whole

TEXTS = pd.DataFrame(
    [
        ("11", "alternative", "en", "boss", "", ""), ("12", "alternative", "en", "boss", "", ""),
        ("12", "reported", "en", "Bar manager", "", ""), ("12", "alternative", "en", "bar manager", "", ""),
        ("11", "task", "en", "Counts the money in the till.", "", ""), ("11", "task", "en", "Counts.", "", ""),
        ("11", "technology", "en", "Excel", "", ""), ("12", "technology", "en", "Excel", "", ""),
        *((c, "skill", "en", "Listening", "", "4.5") for c in ("11", "12", "2")),
        ("2", "skill", "en", "Marching", "", "4.0"), ("11", "skill", "en", "Marching", "", "1.5"),
        ("2", "exclusion", "en", "butcher", "11", ""), ("2", "exclusion", "en", "stranger", "99", ""),
        ("2", "scope_note", "en", "Includes guards. Excludes people in uniform.", "", ""),
        ("2", "alternative", "pl", "oficer", "", ""),
    ],
    columns=["code", "kind", "language", "text", "detail", "value"],
)  # fmt: skip


@pytest.mark.parametrize("shared", ["drop", "keep_all", "most_frequent"])
@pytest.mark.parametrize("cap", [0, 1, 2])
def test_in_is_out_and_rejected(shared, cap):
    made = texts_from_taxonomy(TREE, TEXTS, TaxonomyTexts(shared=shared, max_per_source=cap, max_per_code=2 * cap))
    counts = made.counts
    assert counts["in"].sum() == len(made.texts) + len(made.rejects) and counts["out"].sum() == len(made.texts)
    reasons = counts.drop(columns=["source", "in", "out"]).sum(axis=1)
    assert (counts["in"] == counts["out"] + reasons).all()
    assert not made.texts.duplicated(["text", "code", "language"]).any()
    if cap:
        assert made.texts.groupby(["code", "language", "source"]).size().max() <= cap
        assert made.texts.groupby(["code", "language"]).size().max() <= 2 * cap
    again = texts_from_taxonomy(TREE, TEXTS, TaxonomyTexts(shared=shared, max_per_source=cap, max_per_code=2 * cap))
    pd.testing.assert_frame_equal(again.texts, made.texts)


def test_what_becomes_of_each_text():
    made = texts_from_taxonomy(TREE, TEXTS, TaxonomyTexts())
    rows = {(t.source, t.code, t.text) for t in made.texts.itertuples()}
    description = "Shop managers run the shops of a firm."
    assert ("description", "11", description) in rows and (
        "title_description",
        "11",
        f"Shop managers\n{description}",
    ) in rows
    assert ("technology", "11", "Shop managers uses technology: Excel") in rows  # with its occupation nothing is shared
    assert ("skill", "2", "Officers needs skill: Marching") in rows and ("title", "2", "Officers") in rows
    why = {(r.source, r.code, r.text): r.reason for r in made.rejects.itertuples()}
    assert why["alternative", "11", "boss"] == "shared by several codes"
    assert why["skill", "11", "Listening"].startswith("generic") and why["skill", "11", "Marching"].startswith(
        "importance"
    )
    assert why["task", "11", "Counts."].startswith("not longer") and why["alternative", "12", "bar manager"].startswith(
        "repeats"
    )
    assert made.negatives.values.tolist() == [
        ["butcher", "11", "12", "en", "description"], ["butcher", "2", "11", "en", "exclusion"],
        ["stranger", "2", "", "en", "exclusion"], ["people in uniform", "2", "", "en", "scope_note"],
    ]  # fmt: skip
    assert not made.texts["text"].str.contains("butcher|xclude").any()


def test_what_a_code_is_called_is_no_negative_of_it():
    """ESCO 1.2.1: "dressmaker" is an alternative label of 7531.5, and its scope note excludes dressmaker."""
    both = [("12", "scope_note", "en", "Excludes bar manager. Excludes waiter.", "", ""), *TEXTS.to_numpy().tolist()]
    made = texts_from_taxonomy(TREE, pd.DataFrame(both, columns=TEXTS.columns))
    assert made.contradicted == 1 and "waiter" in set(made.negatives["text"])
    assert not ((made.negatives["text"].str.casefold() == "bar manager") & (made.negatives["code"] == "12")).any()


def test_choices():
    only = texts_from_taxonomy(TREE, TEXTS, TaxonomyTexts(languages=["pl"]))
    assert only.texts["text"].tolist() == ["oficer"]
    leaves = texts_from_taxonomy(TREE, TEXTS, TaxonomyTexts(leaves_only=True, sources=["title"]))
    assert leaves.texts["code"].tolist() == ["2", "11", "12"] and set(leaves.texts["source"]) == {"title"}
    all_skills = texts_from_taxonomy(
        TREE, TEXTS, TaxonomyTexts(generic=1, min_importance=0, sources=["skill"], context={}, shared="keep_all")
    )
    assert len(all_skills.texts) == 5 and all_skills.texts["weight"].sum() == pytest.approx(2)
    with pytest.raises(ValueError, match="shared: got 'all', allowed are drop"):
        TaxonomyTexts(shared="all")
    with pytest.raises(ValueError, match="allowed are 0 to 1"):
        TaxonomyTexts(generic=2)
    with pytest.raises(ValueError, match="the taxonomy has en, pl"):
        texts_from_taxonomy(TREE, TEXTS, TaxonomyTexts(languages=["xx"]))
    with pytest.raises(TaxonomyError, match="unknown codes"):
        texts_from_taxonomy(TREE, TEXTS.assign(code="7"), TaxonomyTexts())
    with pytest.raises(ValueError, match="no text is left"):
        texts_from_taxonomy(TREE, TEXTS, TaxonomyTexts(sources=["definition"]))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_commands(tmp_path, format):
    (tmp_path / "structure.csv").write_text(
        "code,title,definition\n1,Managers,Lead all of the people here.\n11,Chiefs,\n", "utf-8"
    )
    run = CliRunner().invoke
    done = run(
        app,
        [
            "taxonomy",
            "import",
            "isco08",
            str(tmp_path / "structure.csv"),
            "-o",
            str(tmp_path / "tax"),
            "--format",
            format,
        ],
    )
    assert done.exit_code == 0, done.output
    assert "1/1 codes per level" in done.output and "2 rows = 2 used + 0 rejected" in done.output
    done = run(
        app,
        [
            "data",
            "from-taxonomy",
            str(tmp_path / "tax"),
            "-o",
            str(tmp_path / "out" / "train.csv"),
            "--languages",
            "en",
        ],
    )
    assert done.exit_code == 0, done.output
    frame = pd.read_csv(tmp_path / "out" / "train.csv", dtype=str)
    assert list(frame.columns) == ["text", "code", "language", "source", "weight"] and len(frame) == 4
    record = json.loads((tmp_path / "out" / "train.counts.json").read_text("utf-8"))
    assert record["rows_in"] == record["rows_out"] + record["rejected"] == 4
    tree, texts = read_imported(tmp_path / "tax")
    assert tree.name == "isco08" and len(texts) == 0
    assert run(app, ["taxonomy", "import", "--list"]).output.count("\n") == 22
    for wrong in (["taxonomy", "import"], ["taxonomy", "import", "isco", str(tmp_path), "-o", str(tmp_path / "t")],
                  ["taxonomy", "import", "isco08", str(tmp_path)], ["data", "from-taxonomy", str(tmp_path), "-o", "x.csv"],
                  ["taxonomy", "import", "csv", str(tmp_path), "-o", str(tmp_path / "t"), "--column", "code"]):  # fmt: skip
        assert run(app, wrong).exit_code == 2


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.jsonl", "t.tsv.gz", "t.2024.csv.bz2"])
def test_every_format_is_what_its_name_says(tmp_path, name):
    from hjc.tables import read_table

    made = texts_from_taxonomy(TREE, TEXTS)
    paths = made.write(tmp_path / name)
    assert (
        read_table(paths[0])[["text", "code"]].to_numpy().tolist() == made.texts[["text", "code"]].to_numpy().tolist()
    )
    base = name.split(".csv")[0].split(".tsv")[0].split(".parquet")[0].split(".jsonl")[0]
    assert [p.name for p in paths[1:]] == [f"{base}.negatives.csv", f"{base}.rejects.csv.gz", f"{base}.counts.json"]


def test_a_table_is_not_replaced_unasked_and_needs_a_format(call, tmp_path):
    (tmp_path / "taxonomy.csv").write_text("code,parent,title_en\n1,,Managers\n11,1,Chiefs\n", "utf-8")
    (tmp_path / "train.csv").write_text("work of hours", "utf-8")
    code, _, err = call("data", "from-taxonomy", tmp_path, "-o", tmp_path / "train.csv")
    assert code == 2 and "--overwrite" in err and (tmp_path / "train.csv").read_text() == "work of hours"
    assert call("data", "from-taxonomy", tmp_path, "-o", tmp_path / "train.csv", "--overwrite")[0] == 0
    assert pd.read_csv(tmp_path / "train.csv")["text"].tolist() == ["Managers", "Chiefs"]
    code, _, err = call("data", "from-taxonomy", tmp_path, "-o", tmp_path / "train")
    assert code == 2 and "the name does not tell the format" in err and not (tmp_path / "train").exists()


def test_the_training_table_is_read_by_the_loader(tmp_path):
    from hjc.data import DataSettings, load_job_data

    made = texts_from_taxonomy(TREE, TEXTS, TaxonomyTexts(shared="keep_all"))
    path = made.write(tmp_path / "train.csv.gz")[0]
    settings = DataSettings(
        train=[str(path)], language_column="language", source_column="source", weight_column="weight", valid_fraction=0
    )
    data = load_job_data(settings, TREE).train
    assert len(data) == len(made.texts) and data.weight.sum() == pytest.approx(made.texts["weight"].sum())
