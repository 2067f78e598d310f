"""The readers on the files that offices publish: counts as in the SOURCE.md of each folder."""

import numpy as np
import pandas as pd
import pytest

from hjc.corpus.from_taxonomy import TaxonomyTexts, texts_from_taxonomy
from hjc.corpus.passages import split_description
from hjc.errors import TaxonomyError
from hjc.taxonomy import isco08, read_taxonomy_csv
from hjc.taxonomy.readers import ImportOptions, import_taxonomy
from hjc.taxonomy.readers.soc import parent_by_number

from .test_taxonomy_readers import assert_accounts

pytestmark = [pytest.mark.slow, pytest.mark.realdata]


def read(realdata, kind, *paths, **options):
    imported = import_taxonomy(kind, [realdata / p for p in paths], ImportOptions(**options))
    assert_accounts(imported)
    return imported


@pytest.fixture(scope="module")
def onet(realdata):
    """The tidy O*NET tables, which take seconds to read."""
    return read(realdata, "onet", "onet")


def rejected(imported):
    return sum(f.rejected for f in imported.report.files)


def test_isco08(realdata):
    imported = read(realdata, "isco08", "isco08")
    assert imported.report.levels == [10, 43, 130, 436] and imported.taxonomy == isco08()
    counts = imported.report.by_kind()
    assert (counts["description"], counts["example"] + counts["exclusion"]) == (619, 2083) and rejected(imported) == 0
    assert len({t.detail or t.code for t in imported.texts}) == 430


def test_passages_agree_with_the_table_of_examples(realdata):
    """The cutter finds what another program cut from the same definitions, and more."""
    imported = read(realdata, "isco08", "isco08")
    table = pd.read_csv(realdata / "isco08" / "isco08_example_titles_en.csv", dtype=str)
    examples, exclusions = set(), set()
    for code, text in zip(imported.taxonomy.codes, imported.taxonomy.descriptions["en"], strict=True):
        parts = split_description(text, related=lambda other, own=code: other.startswith(own) or own.startswith(other))
        examples |= {(code, e) for e in parts.examples}
        exclusions |= {(e.target, e.text) for e in parts.exclusions}
        left = f"{parts.text} {parts.notes} {' '.join(parts.tasks)} {' '.join(parts.examples)}"
        assert "related occupations classified elsewhere" not in left.lower()
        assert "excluded from this" not in left.lower() and "occupations classified here:" not in left.lower()
    own = table[table["kind"] == "example_here"]
    elsewhere = table[table["kind"] == "related_elsewhere"]
    assert len(examples & set(zip(own["code"], own["title"], strict=True))) >= 0.99 * len(own)
    assert len(exclusions & set(zip(elsewhere["code"], elsewhere["title"], strict=True))) >= 0.99 * len(elsewhere)
    assert {code for code, _ in exclusions} - {""} <= set(imported.taxonomy.codes)


def test_esco_v121_in_two_languages(realdata):
    imported = read(realdata, "esco", "raw/esco_v1.2.1_en", "raw/esco_v1.2.1_pl")
    tree = imported.taxonomy
    assert imported.report.levels[:4] == [10, 43, 130, 436] and sum(imported.report.levels[4:]) == 3039
    assert rejected(imported) == 0 and set(tree.titles) == {"en", "pl"}
    tidy = pd.read_csv(
        realdata / "esco" / "esco_v1.2.1_occupations_en_pl.csv.gz", dtype=str, keep_default_na=False
    ).set_index("esco_code")
    for language in ("en", "pl"):
        titles = dict(zip(tree.codes, tree.titles[language], strict=True))
        assert {c: titles[c] for c in tidy.index} == tidy[f"label_{language}"].to_dict()
    moved = [c for c, p in tidy["parent"].items() if tree.codes[tree.parents[tree.index_of[c]]] != p]
    assert sorted(moved) == ["2421.8", "2512.7", "2654.6", "2654.7"]  # ESCO places these elsewhere than their codes say
    notes = [t for t in imported.texts if t.kind == "scope_note"]
    assert len(notes) == 309 and not any("<" in t.text for t in notes)


def test_esco_v108_and_tabiya_and_the_wide_table(realdata):
    old = read(realdata, "esco", "raw/esco_v1.0.8")
    assert old.report.levels == [10, 43, 130, 436, 1701, 1064, 136, 41]
    assert [f.used for f in old.report.files] == [2942, 2942] and "ISCO groups" in old.report.missing
    tabiya = read(realdata, "esco", "raw/esco_tabiya_v1.1.1")
    assert sum(tabiya.report.levels[4:]) == 3007 and rejected(tabiya) == 0
    wide = read(realdata, "esco", "esco/esco_v1.2.1_occupations_en_pl.csv.gz")
    assert sum(wide.report.levels[4:]) == 3039


def test_esco_26_languages(realdata):
    imported = read(realdata, "esco", "esco")
    assert imported.report.levels == [10, 43, 130, 436, 1701, 1064, 136, 41] and rejected(imported) == 0
    used = {f.file: f.used for f in imported.report.files}
    assert used["labels_26_languages.csv.gz"] == 358_268
    assert sum(n for name, n in used.items() if name.startswith("descriptions")) == 76_492
    assert imported.report.by_kind()["alternative"] == 358_268 - 76_492
    assert len(imported.taxonomy.descriptions) == 26


def test_kzis(realdata):
    imported = read(realdata, "kzis", "kzis")
    assert imported.report.levels == [10, 43, 134, 445, 2911] and rejected(imported) == 0
    files = {f.role: f for f in imported.report.files}
    assert (files["descriptions of occupations"].rows, files["descriptions of occupations"].used) == (2910, 2542)
    assert files["descriptions of groups"].used == 628 and files["thesaurus"].used == 6247
    assert len({t.code for t in imported.texts if t.kind == "alternative"}) == 1338
    assert read(realdata, "kzis", "raw/kzis/kzis-hierarchy-2023.tsv").taxonomy == imported.taxonomy


def test_soc(realdata):
    tidy = read(realdata, "soc2018", "soc2018_us")
    assert tidy.report.levels == [23, 98, 459, 867]
    titles = [t for t in tidy.texts if t.kind == "alternative"]
    assert len(titles) == 6537 and len({t.code for t in titles}) == 864
    published = read(realdata, "soc2018", "raw/soc/SOC_Structure.xlsx")
    assert published.taxonomy == tidy.taxonomy
    pairs = zip(published.taxonomy.titles["en"], tidy.taxonomy.titles["en"], strict=True)
    assert all(a.replace("'", "’") == b.replace("'", "’") for a, b in pairs)
    assert read(realdata, "soc2010", "raw/soc/soc_structure_2010.xls").report.levels == [23, 97, 461, 840]


def test_parents_by_number_are_those_of_the_structure(realdata):
    tree = read_taxonomy_csv(realdata / "onet" / "soc2018_onet_hierarchy.csv")
    above = [tree.codes[p] if p >= 0 else "" for p in tree.parents.tolist()]
    assert [parent_by_number(code) for code in tree.codes] == above


def test_onet_tidy(onet):
    imported = onet
    assert imported.report.levels == [23, 98, 459, 867, 1016]
    used = {f.role: f.used for f in imported.report.files}
    assert used["titles"] == 64_354 and used["tasks"] == 18_796 and used["Occupation Data"] == 1016
    counts = imported.report.by_kind()
    assert counts["alternative"] + counts["reported"] == 64_354 and list(imported.report.missing) == ["Abilities"]


def test_onet_excel_agrees_with_the_tidy_tables(realdata):
    """The published workbooks (without the two large ones of ratings, which take long to open)."""
    folder = realdata / "raw" / "onet_excel"
    names = ["Occupation Data", "Sample of Reported Titles", "Task Statements", "Alternate Titles", "Technology Skills"]
    names += ["Tools Used"]
    imported = import_taxonomy(
        "onet", [*(folder / f"{n}.xlsx" for n in names), realdata / "raw" / "soc" / "SOC_Structure.xlsx"]
    )
    assert_accounts(imported)
    assert imported.taxonomy == read_taxonomy_csv(realdata / "onet" / "soc2018_onet_hierarchy.csv")
    counts = imported.report.by_kind()
    assert (counts["task"], counts["reported"]) == (18_796, 7_796) and rejected(imported) == 0
    assert counts["alternative"] + counts["reported"] == 64_354
    assert (counts["technology"], counts["tool"]) == (32_681, 41_662)
    assert {"Skills", "Knowledge", "Abilities"} == set(imported.report.missing)
    codes_only = import_taxonomy("onet", folder / "Occupation Data.xlsx")  # groups from the codes
    assert codes_only.taxonomy == imported.taxonomy and "SOC structure" in codes_only.report.missing


@pytest.mark.parametrize(
    ("kind", "folder", "levels", "kind_of_text", "count", "leaves"),
    [
        ("noc2021", "noc2021_ca", [10, 45, 89, 162, 516], "index", 57_708, 516),
        ("rome", "rome_fr", [14, 110, 1584], "alternative", 13_117, 1584),  # 3 of 13,120 stand twice
        ("uk_soc", "uk_soc2010", [9, 25, 90, 369], "index", 28_520, 369),  # 1 of 28,521 stands twice
        ("ssyk2012", "ssyk2012_se", [10, 46, 147, 400], "alternative", 2_412, None),
    ],
)
def test_other_countries(realdata, kind, folder, levels, kind_of_text, count, leaves):
    imported = read(realdata, kind, folder)
    assert imported.report.levels == levels and rejected(imported) == 0
    texts = [t for t in imported.texts if t.kind == kind_of_text]
    assert len(texts) == count
    assert leaves is None or len({t.code for t in texts}) == leaves
    if kind == "noc2021":
        languages = pd.Series([t.language for t in texts]).value_counts().to_dict()
        assert languages == {"fr": 29_767, "en": 27_941} and set(imported.taxonomy.titles) == {"en", "fr"}


def test_generic(realdata):
    imported = read(realdata, "csv", "usajobs_opm/opm_hierarchy.csv", language="en")
    assert imported.report.levels == [3, 60, 669] and list(imported.taxonomy.titles) == ["en"]


def test_swedish_exclusions(realdata):
    tree = read(realdata, "ssyk2012", "ssyk2012_se").taxonomy
    parts = [split_description(text, "sv") for text in tree.descriptions["sv"]]
    assert sum(bool(p.exclusions) for p in parts) == 103 and not any("Hit hör inte" in p.text for p in parts)
    targets = [e.target for p in parts for e in p.exclusions]
    assert np.mean([t in tree.index_of for t in targets]) > 0.9


def test_onet_texts_of_the_bi_encoder_document(onet):
    """The table of docs/official-classifications.md (skills and knowledge from the tidy tables)."""
    imported = onet
    settings = TaxonomyTexts(leaves_only=True, shared="keep_all", context={})
    made = texts_from_taxonomy(imported.taxonomy, imported.to_frame(), settings)
    counts = made.counts.set_index("source")
    assert counts["in"].sum() == len(made.texts) + len(made.rejects)
    assert counts["out"].to_dict() == {
        "title": 1016, "alternative": 56_555, "title_description": 1016, "description": 1016, "task": 18_744,
        "technology": 32_677, "tool": 41_661, "skill": 3_877, "knowledge": 3_472,
    }  # fmt: skip
    generic = made.discrimination["skill/en"].generic() | made.discrimination["knowledge/en"].generic()
    # what the document names as generic
    assert {"Active Listening", "Reading Comprehension", "Critical Thinking"} <= generic
    assert {"English Language", "Customer and Personal Service", "Administration and Management"} <= generic
    assert not {"Programming", "Repairing", "Science", "Chemistry", "Medicine and Dentistry"} & generic
    shares = made.texts.groupby(made.texts["text"].str.casefold())["weight"].sum()
    assert np.allclose(shares, 1)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("soc2010", "raw/soc/soc_structure_2010.xls"), ("soc2018", "raw/soc/SOC_Structure.xlsx"),
     ("ssyk2012", "ssyk2012_se/hierarchy.csv.gz"), ("kzis", "raw/kzis/kzis-hierarchy-2023.tsv")],
)  # fmt: skip
def test_damaged_published_files(realdata, tmp_path, kind, name):
    """Cut off or with flipped bytes they are read with an account, or refused with one message."""
    data = (realdata / name).read_bytes()
    rng = np.random.default_rng(3)
    path = tmp_path / name.rsplit("/", 1)[1]
    for i in range(8):
        broken = np.frombuffer(data, dtype=np.uint8).copy()
        broken[rng.integers(len(broken), size=(1, 5, 60)[i % 3])] = 7
        path.write_bytes(bytes(broken if i % 2 else broken[: rng.integers(len(broken))]))
        try:
            assert_accounts(import_taxonomy(kind, path))
        except TaxonomyError as error:
            assert path.name in str(error) or kind in str(error)
