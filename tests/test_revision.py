"""Revisions: what becomes of each code, and of the rows."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.crosswalk.correspondence import Correspondence
from hjc.crosswalk.readers import read_correspondence
from hjc.crosswalk.revision import KINDS, plan_revision
from hjc.errors import TaxonomyError
from hjc.taxonomy import from_edges, from_prefix_codes, read_taxonomy_csv

from .strategies import taxonomies
from .test_crosswalk_realdata import esco_tree

OLD = from_prefix_codes(["111", "112", "113", "114", "115", "121", "211", "212"], [1, 2, 3], name="old")
NEW = from_prefix_codes(["111", "112", "113", "116", "117", "121", "122", "211", "213"], [1, 2, 3], name="new")
PAIRS = [
    ("111", "111"),  # unchanged
    ("112", "113"),  # renamed; 112 means something else now
    ("113", "116"), ("113", "117"),  # split under 11
    ("114", "121"), ("114", "112"),  # split under 1
    ("115", "122"), ("115", "211"),  # split between 1 and 2
    ("121", "122"),  # merged with a part of 115
    ("211", ""),  # dropped
]  # fmt: skip


def table(pairs=PAIRS, **kwargs):
    return Correspondence(tuple(s for s, _ in pairs), tuple(t for _, t in pairs), **kwargs)


def test_every_kind():
    plan = plan_revision(table(added=("213",)), NEW, OLD)
    found = {c.code: (c.kind, c.gold) for c in plan.codes.values() if not c.inner}
    assert found == {
        "111": ("unchanged", "111"), "112": ("renamed", "113"), "113": ("split", "11"), "114": ("split", "1"),
        "115": ("split", ""), "121": ("merged", "122"), "211": ("dropped", ""), "212": ("unmapped", ""),
    }  # fmt: skip
    assert plan.counts == {"unchanged": 1, "renamed": 1, "merged": 1, "split": 3, "dropped": 1, "unmapped": 1}
    assert plan.reused == ("112", "113", "121", "211") and plan.added == ("213",)
    assert plan.of("115").reason == "its successors have no common ancestor"
    assert plan.of("999").kind == "unmapped"
    rows = Counter({"111": 5, "113": 2, "115": 3, "": 1, "999": 1})
    text = plan.summary(rows)
    assert "rows: unchanged 5, split 5, unmapped 1" in text and "2: 2" in text and "3 its successors have no" in text
    report = {r["old_code"]: r for r in plan.report(rows)}
    assert report["113"]["new_code"] == "11" and report["113"]["level"] == 2 and report["113"]["rows"] == 2
    assert report["113"]["successors"] == "116 (0.5); 117 (0.5)" and report["999"]["kind"] == "unmapped"
    strict = plan_revision(table(), NEW, min_level=2)
    assert strict.of("113").gold == "11" and strict.of("114").gold == "" and "above level 2" in strict.of("114").reason


def test_rows():
    codes = ["113", "111", "", "115", "999"]
    found = plan_revision(table(), NEW).apply(codes)
    assert found.row.tolist() == [0, 1, 2, 3, 4] and found.code == ("11", "111", "", "", "")
    assert found.weight.tolist() == [1] * 5 and found.kind == ("split", "unchanged", "", "split", "unmapped")
    assert found.reason[2] == "no code" and found.reason[4] == "not in the correspondence table"
    found = plan_revision(table(), NEW, split="weights").apply(codes, [2, 1, 1, 4, 1])
    assert found.row.tolist() == [0, 0, 1, 2, 3, 3, 4]
    assert found.code == ("116", "117", "111", "", "122", "211", "") and found.reason[4] == ""
    assert found.weight.tolist() == [1, 1, 1, 1, 2, 2, 1]
    counted = plan_revision(table(), NEW, split="weights", weights="proportional", target_counts={"116": 3, "117": 1})
    assert counted.apply(["113"]).weight.tolist() == [0.75, 0.25]
    with pytest.raises(ValueError, match=r"weights: got shape \(1,\)"):
        counted.apply(["113", "111"], [1])


def test_inner_old_codes():
    pairs = [("111", "111"), ("112", "112"), ("113", "113"), ("114", "211"), ("121", "121"), ("122", "116")]
    old = from_prefix_codes([s for s, _ in pairs] + ["131"], [1, 2, 3])
    plan = plan_revision(table(pairs), NEW, old)
    assert (plan.of("11").gold, plan.of("11").kind) == ("", "split")
    assert (plan.of("12").gold, plan.of("12").kind) == ("1", "split")
    assert plan.of("13").kind == "unmapped"
    most = plan_revision(table(pairs), NEW, old, inner_share=0.75)
    assert (most.of("11").gold, most.of("11").kind) == ("11", "unchanged")
    assert most.of("11").lost == pytest.approx(0.25)
    # one leaf under it: the old group does not become that leaf, which has new neighbours
    single = plan_revision(table([("211", "211")]), NEW, from_prefix_codes(["211"], [1, 2, 3]))
    assert single.of("21").gold == "21" and single.of("2").gold == "2"
    assert plan_revision(table(pairs), NEW).of("11").kind == "unmapped"  # without the old tree nobody knows


def test_titles_and_lost_links():
    plan = plan_revision(
        table(PAIRS[:2], source_titles={"111": "Cook ", "112": "b"}, target_titles={"111": "Chef", "113": "c"}), NEW
    )
    assert plan.retitled == ("111",) and "another title" in plan.summary()
    out = plan_revision(table([("111", "111"), ("111", "gone")]), NEW)
    assert out.of("111").kind == "split" and out.of("111").gold == "" and out.of("111").lost == 0.5
    assert "1 new codes of the table are not in 'new': 'gone'" in out.summary()
    weighted = plan_revision(table([("111", "111"), ("111", "gone")]), NEW, split="weights")
    assert weighted.apply(["111"]).weight.tolist() == [0.5]
    assert "outside the new tree: 2 rows" in weighted.summary({"111": 4})


def test_refusals():
    with pytest.raises(TaxonomyError, match="other way round"):
        plan_revision(table([("111", "x")]), NEW)
    with pytest.raises(ValueError, match="allowed are ancestor, weights"):
        plan_revision(table(), NEW, split="first")
    with pytest.raises(ValueError, match="inner_share"):
        plan_revision(table(), NEW, inner_share=0.5)
    with pytest.raises(ValueError, match="allowed are 1"):
        plan_revision(table(), NEW, min_level=9)


@given(st.data())
def test_the_gold_code_is_above_every_successor_and_weights_sum_to_one(data):
    tree = data.draw(taxonomies(15, plain_codes=True))
    pair = st.tuples(st.sampled_from("abcd"), st.sampled_from([*tree.codes, ""]))
    pairs = [*data.draw(st.lists(pair, max_size=12)), ("a", tree.codes[0])]
    plan = plan_revision(table(pairs), tree)
    by_weight = plan_revision(table(pairs), tree, split="weights")
    by_hand: dict[str, set[str]] = {}
    for s, t in pairs:
        by_hand.setdefault(s, set()).update({t} - {""})

    def above(code):
        out, node = [], tree.index_of[code]
        while node >= 0:
            out.insert(0, tree.codes[node])
            node = tree.parents[node]
        return out

    for code, successors in by_hand.items():
        common = set.intersection(*(set(above(t)) for t in successors)) if successors else set()
        deepest = max(common, key=lambda c: tree.level[tree.index_of[c]], default="")
        assert plan.of(code).gold == deepest and plan.of(code).kind in KINDS
        rows = by_weight.apply([code, code], [1.0, 3.0])
        np.testing.assert_allclose(np.bincount(rows.row, rows.weight), [1, 3])
        assert set(rows.code) == (successors or {""})


def test_deterministic_tree_with_edges():
    ragged = from_edges(["a", "b", "ab", "abc"], [None, None, "a", "ab"])
    assert plan_revision(table([("1", "ab"), ("1", "abc")]), ragged).of("1").gold == "ab"


# ---------------------------------------------------------------------------------------------- the official tables


@pytest.mark.slow
@pytest.mark.realdata
def test_kzis_2014_to_2022(realdata):
    new = read_taxonomy_csv(realdata / "kzis" / "kzis_hierarchy_2023.csv")
    key = read_correspondence(realdata / "raw" / "kzis" / "ksiz_kody_2014_2022_klucz.xls")
    assert len(key) == 2816 and len(key.added) == 137
    old = from_prefix_codes(dict.fromkeys(key.source), [1, 2, 3, 4, 6], name="kzis2014")
    plan = plan_revision(key, new, old)
    assert plan.counts == {"unchanged": 2751, "renamed": 6, "merged": 59} and plan.notes == ()
    assert plan.of("231001").gold == "231006"  # biology is now "exact and natural sciences"
    assert plan.of("231006").gold == "231001" and "231006" in plan.reused  # humanities, and the code is another's now
    assert plan.of("2310").gold == "2310" and plan.of("23").gold == "23"
    assert sum(1 for c in plan.codes.values() if c.inner and c.kind != "unchanged") == 5
    rows = plan.apply(old.leaf_codes)
    assert len(rows.code) == 2816 and "" not in rows.code and rows.weight.sum() == 2816


@pytest.mark.realdata
def test_esco_1_0_8_to_1_2_1(realdata):
    old = esco_tree(realdata / "esco" / "occupations.csv.gz")
    new = esco_tree(realdata / "esco" / "esco_v1.2.1_occupations_en_pl.csv.gz")
    plan = plan_revision(read_correspondence(realdata / "esco" / "esco_code_bridge_v108_v121.csv.gz"), new, old)
    assert plan.counts == {"unchanged": 2449, "renamed": 488, "dropped": 5, "unmapped": 10}  # SOURCE: 488 codes moved
    assert len(plan.added) == 102 and len(plan.reused) == 324
    assert plan.of("2166.4.7").gold == "2654.1.7"


@pytest.mark.realdata
def test_onet_2010_to_soc_2018(realdata):
    soc = read_taxonomy_csv(realdata / "soc2018_us" / "structure_definitions.csv.gz")
    table = read_correspondence(realdata / "crosswalks" / "onet2010_soc2018.csv")
    plan = plan_revision(table, soc)
    assert plan.counts == {"renamed": 678, "merged": 390, "split": 42} and plan.notes == ()
    split = [c for c in plan.codes.values() if c.kind == "split"]
    assert plan.of("15-1132.00").gold == "15-1250" and plan.of("53-7032.00").gold == ""
    assert Counter(soc.level[soc.index_of[c.gold]] for c in split if c.gold) == {3: 23, 2: 13, 1: 2}
    weighted = plan_revision(table, soc, split="weights").apply(list(plan.codes))
    np.testing.assert_allclose(np.bincount(weighted.row, weighted.weight), 1)
