"""Crosswalks: mass, coherence, chains, inner nodes, weights, readers."""

import csv

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hjc.crosswalk.correspondence import Correspondence, link_shares
from hjc.crosswalk.mapping import Crosswalk, build_crosswalk
from hjc.crosswalk.readers import read_correspondence, read_counts, read_identifiers
from hjc.crosswalk.revision import plan_revision
from hjc.errors import TaxonomyError
from hjc.taxonomy import from_edges, isco08

from .strategies import random_log_proba, taxonomies

A = from_edges(["1", "2", "11", "12", "21"], [None, None, "1", "1", "2"], name="A")
B = from_edges(["x", "y", "xa", "xb", "ya", "yb", "yc"], [None, None, "x", "x", "y", "y", "y"], name="B")


def table(*pairs, weight=None):
    return Correspondence.from_pairs(pairs, weight)


@st.composite
def crosswalks(draw, source=None, target=None):
    """A crosswalk between random trees: codes of any level, unknown codes on both sides, weights or not."""
    source = draw(taxonomies(12, plain_codes=True)) if source is None else source
    target = draw(taxonomies(12, plain_codes=True)) if target is None else target
    code = st.sampled_from([*source.codes, "?"])
    other = st.sampled_from([*target.codes, "!", ""])
    pairs = draw(st.lists(st.tuples(code, other), min_size=1, max_size=20))
    pairs.append((source.codes[0], target.codes[-1]))
    how = draw(st.sampled_from(["uniform", "proportional", "given"]))
    weight = draw(st.lists(st.floats(0, 5), min_size=len(pairs), max_size=len(pairs))) if how == "given" else None
    counts = draw(st.dictionaries(st.sampled_from(target.codes), st.floats(0, 100))) if how == "proportional" else None
    return build_crosswalk(
        table(*pairs, weight=weight), source, target, weights=how, target_counts=counts,
        unmapped=draw(st.sampled_from(["keep", "renormalise"])),
    )  # fmt: skip


def transfer_by_hand(cw, p):
    """Ten lines of loops over source leaves, target nodes and the leaves under them."""
    out, lost = np.zeros((len(p), cw.target.num_leaves)), np.zeros(len(p))
    dense, spread = cw.matrix.toarray(), cw.spread.toarray()
    for b in range(len(p)):
        for i, node in enumerate(cw.source.leaves):
            for j in range(len(cw.target)):
                start, stop = cw.target.leaf_slice[j]
                for leaf in range(start, stop):
                    out[b, leaf] += p[b, i] * dense[node, j] * spread[j, leaf]
            lost[b] += p[b, i] * dense[node, -1]
    return out, lost


@given(crosswalks(), st.integers(0, 99), st.sampled_from([0.1, 3.0, 30.0]))
def test_mass_is_conserved_and_levels_are_coherent(cw, seed, scale):
    log_p = random_log_proba(cw.source.num_leaves, 4, seed, scale)
    found = cw.transfer(log_p)
    np.testing.assert_allclose(found.proba.sum(axis=1) + found.unmapped, 1, atol=1e-12)
    expected, lost = transfer_by_hand(cw, np.exp(log_p))
    np.testing.assert_allclose(found.proba, expected, atol=1e-12)
    np.testing.assert_allclose(found.unmapped, lost, atol=1e-12)
    np.testing.assert_allclose(np.exp(log_p) @ cw.leaf_matrix, np.c_[expected, lost], atol=1e-12)
    for level in range(1, cw.target.depth + 1):
        total = np.exp(cw.target.aggregate(found.log_proba, level)).sum(axis=1)
        np.testing.assert_allclose(total + found.unmapped, 1, atol=1e-9)


@pytest.mark.slow
@given(crosswalks(), st.integers(0, 99))
def test_settled_mass_is_coherent(cw, seed):
    mass = np.zeros((3, len(cw.source)))
    mass[:, cw.source.leaves] = np.exp(random_log_proba(cw.source.num_leaves, 3, seed))
    kept, lost = np.split(mass @ cw.matrix[:-1], [-1], axis=1)
    lost, spread = lost.ravel(), np.zeros_like(kept)
    spread[:, cw.target.leaves] = mass[:, cw.source.leaves] @ cw.leaf_matrix[:, :-1]
    np.testing.assert_allclose(kept.sum(axis=1) + lost, 1, atol=1e-12)
    at_or_under = cw.target.with_descendants(kept)
    for level in range(1, cw.target.depth + 1):
        nodes = cw.target.level_nodes(level)
        for inner, settled in (("keep", kept), ("spread", spread)):
            found = mass @ cw.level_matrix(level, inner=inner)
            np.testing.assert_allclose(found[:, :-2], cw.target.with_descendants(settled)[:, nodes], atol=1e-12)
            np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
            np.testing.assert_allclose(found[:, -1], lost, atol=1e-12)
    for node in range(len(cw.target)):
        children = np.flatnonzero(cw.target.parents == node)
        np.testing.assert_allclose(at_or_under[:, node], kept[:, node] + at_or_under[:, children].sum(axis=1))


@pytest.mark.slow
@given(st.data())
def test_a_chain_is_the_product_of_the_matrices(data):
    first = data.draw(crosswalks())
    second = data.draw(crosswalks(source=first.target))
    third = data.draw(crosswalks(source=second.target))
    both = first.then(second)
    np.testing.assert_allclose(both.matrix.toarray(), first.matrix.toarray() @ second.matrix.toarray(), atol=1e-12)
    one, other = both.then(third).matrix.toarray(), first.then(second.then(third)).matrix.toarray()
    np.testing.assert_allclose(one, other, atol=1e-12)
    log_p = random_log_proba(first.source.num_leaves, 3, 0)
    step = np.exp(log_p) @ first.matrix[first.source.leaves] @ second.matrix @ second.spread
    found = both.transfer(log_p)
    np.testing.assert_allclose(np.c_[found.proba, found.unmapped], step, atol=1e-12)


@given(taxonomies(20), st.integers(0, 9))
def test_identity_and_truncation(tree, seed):
    log_p = random_log_proba(tree.num_leaves, 3, seed, 20)
    same = Crosswalk.truncation(tree, tree.depth)
    np.testing.assert_allclose(same.transfer(log_p).log_proba, log_p, atol=1e-12)
    assert same.statistics().unmapped == 0 and same.statistics().targets_not_reached == 0
    assert (same.then(same).matrix != same.matrix).nnz == 0
    by_table = build_crosswalk(table(*((c, c) for c in tree.codes)), tree, tree)
    assert (by_table.matrix != same.matrix).nnz == 0
    for depth in range(1, tree.depth + 1):
        found = Crosswalk.truncation(tree, depth).transfer(log_p)
        np.testing.assert_allclose(found.log_proba, tree.aggregate(log_p, depth), atol=1e-9)


@given(cw=crosswalks())
def test_written_and_read_again(cw, tmp_path_factory):
    assume(cw.statistics().pairs)  # a table that leads nowhere is refused
    path = tmp_path_factory.mktemp("cw") / "cw.csv"
    cw.to_csv(path)
    again = build_crosswalk(read_correspondence(path), cw.source, cw.target, weights="shares")
    np.testing.assert_allclose(again.matrix.toarray(), cw.matrix.toarray(), atol=1e-12)


def test_far_below_the_maximum_nothing_underflows():
    cw = build_crosswalk(table(("11", "xa"), ("12", "xb"), ("21", "ya")), A, B)
    log_p = np.array([[0.0, -2000.0, -3000.0]])
    assert cw.transfer(log_p).log_proba[0, :3].tolist() == [0.0, -2000.0, -3000.0]
    assert cw.transfer(log_p).log_proba[0, 3] == -np.inf
    assert cw.transfer(np.array([[-np.inf, 0.0, -np.inf]])).proba[0].tolist() == [0, 1, 0, 0, 0]


def test_inner_nodes_on_either_side():
    # a link of inner node 1 holds for 12, which has none of its own; 11 has its own
    cw = build_crosswalk(table(("1", "x"), ("11", "ya")), A, B)
    assert cw.of("12") == {"x": 1} and cw.of("11") == {"ya": 1} and cw.of("21") == {"": 1}
    assert cw.of("1") == {"x": 1} and cw.of("2") == {"": 1}
    assert cw.leaf_matrix.toarray()[1].tolist() == [0.5, 0.5, 0, 0, 0, 0]
    # an inner source code without links is the mean of its leaves, evenly or by counts
    plain = table(("11", "xa"), ("12", "ya"), ("12", "yb"))
    assert build_crosswalk(plain, A, B).of("1") == {"xa": 0.5, "ya": 0.25, "yb": 0.25}
    assert build_crosswalk(plain, A, B, source_counts={"11": 1, "12": 3}).of("1") == {
        "ya": 0.375,
        "yb": 0.375,
        "xa": 0.25,
    }
    # target counts divide an inner target
    by_count = build_crosswalk(table(("11", "y")), A, B, target_counts={"ya": 1, "yc": 3})
    assert by_count.leaf_matrix.toarray()[0].tolist() == [0, 0, 0.25, 0, 0.75, 0]


def test_weights_of_one_to_many_links():
    links = table(("11", "xa"), ("11", "ya"), ("11", "gone"), ("12", "xb"), weight=[1, 2, 1, 0])
    known = {"xa", "ya", "xb"}
    third = pytest.approx(1 / 3)
    assert link_shares(links, known=known)["11"] == {"xa": third, "ya": third, "": third}
    assert link_shares(links, "given", known=known) == {"11": {"xa": 0.25, "ya": 0.5, "": 0.25}, "12": {"": 1.0}}
    counts = {"xa": 30.0, "ya": 10.0, "xb": 0.0}.__getitem__
    found = link_shares(links, "proportional", count_of=counts, known=known)
    assert found["11"] == {"xa": pytest.approx(0.5), "ya": pytest.approx(1 / 6), "": third} and found["12"] == {"xb": 1}
    shares = table(("11", "xa"), ("11", "ya"), weight=[0.2, 0.3])
    assert link_shares(shares, "shares")["11"] == {"xa": 0.2, "ya": 0.3, "": 0.5}
    keep = build_crosswalk(links, A, B)
    assert keep.of("11")[""] == third and keep.unknown_target == ("gone",)
    assert build_crosswalk(links, A, B, unmapped="renormalise").of("11") == {"xa": 0.5, "ya": 0.5}
    assert build_crosswalk(links, A, B, unmapped="renormalise").of("21") == {"": 1}


def test_what_is_unmapped_stays_so():
    cw = build_crosswalk(table(("11", "xa"), ("12", "gone")), A, B)
    found = cw.transfer(np.log([[0.5, 0.3, 0.2], [1e-30, 0.5, 0.5]]))
    assert found.unmapped.tolist() == pytest.approx([0.5, 1.0])
    nothing = cw.transfer(np.array([[-np.inf, 0.0, -np.inf]]))
    assert nothing.unmapped.tolist() == [1] and nothing.proba.sum() == 0


def test_statistics():
    cw = build_crosswalk(table(("11", "xa"), ("12", "ya"), ("12", "yb"), ("21", "yb"), ("9", "x"), ("11", "z")), A, B)
    s = cw.statistics()
    assert (s.source_codes, s.target_codes, s.pairs) == (3, 3, 4)
    assert (s.one_to_one, s.one_to_many, s.many_to_one, s.many_to_many) == (1, 0, 1, 1)
    assert (s.leaves, s.mapped, s.partly, s.unmapped, s.inherited) == (3, 2, 1, 0, 0)
    assert s.unknown_source == ("9",) and s.unknown_target == ("z",) and s.targets_not_reached == 2
    assert "'z'" in str(s) and "not in the 'to' tree" in str(s)


def test_notes():
    twice = build_crosswalk(table(("11", "xa"), ("11", "xa")), A, B)
    assert twice.of("11") == {"xa": 1} and "1 pairs stand more than once" in str(twice.statistics())
    weighed = build_crosswalk(table(("11", "xa"), ("11", "xb"), weight=[3, 1]), A, B)
    assert weighed.of("11") == {"xa": 0.5, "xb": 0.5} and "does not use" in str(weighed.statistics())


def test_refusals():
    good = build_crosswalk(table(("11", "xa")), A, B)
    with pytest.raises(ValueError, match=r"got shape \(1, 2\), expected \(rows, 3\)"):
        good.transfer(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="NaN"):
        good.transfer(np.full((1, 3), np.nan))
    with pytest.raises(TaxonomyError, match="other way round"):
        build_crosswalk(table(("xa", "11")), A, B)
    with pytest.raises(TaxonomyError, match="cannot chain"):
        good.then(good)
    with pytest.raises(ValueError, match="has no weights"):
        build_crosswalk(table(("11", "xa")), A, B, weights="given")
    with pytest.raises(ValueError, match="needs counts"):
        build_crosswalk(table(("11", "xa")), A, B, weights="proportional")
    with pytest.raises(ValueError, match="allowed are uniform, proportional, given, shares"):
        build_crosswalk(table(("11", "xa")), A, B, weights="even")
    with pytest.raises(ValueError, match=r"sum to 1\.5"):
        build_crosswalk(table(("11", "xa"), ("11", "xb"), weight=[1, 0.5]), A, B, weights="shares")
    with pytest.raises(TaxonomyError, match="not negative"):
        table(("11", "xa"), weight=[-1])
    with pytest.raises(ValueError, match="counts must be"):
        build_crosswalk(table(("11", "xa")), A, B, target_counts={"xa": -1})
    with pytest.raises(ValueError, match="read-only"):
        good.matrix.data[0] = 2


def test_readers(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    two = read_correspondence(write("two.csv", "alt;neu\n01;1\n02;\n;9\n ; \n"))
    assert two.links == {"01": {"1": 1}, "02": {"": 1}} and two.added == ("9",) and "1 rows without" in two.notes[0]
    assert two.reverse().links == {"1": {"01": 1}, "9": {"": 1}} and two.reverse().added == ("02",)
    assert two.reverse().reverse().links == two.links
    named = write("named.tsv", "n\told\tnew\tw\tkind\n1\t01\ta\t2\texact\n2\t01\tb\t1\tbroad\n")
    found = read_correspondence(named, source="old", target="new", weight="w")
    assert found.links == {"01": {"a": 2.0, "b": 1.0}}
    exact = read_correspondence(named, source="old", target="#3", relation="kind", relations=["exact"])
    assert exact.links == {"01": {"a": 1}} and exact.notes == ("1 pairs with the relation 'broad' were left out",)
    assert read_counts(write("c.csv", "code,count\na,1\na,2.5\n")) == {"a": 3.5}
    for header in ("conceptUri,code", "ORIGINURI,CODE"):  # the office's own file, and Tabiya's
        assert (
            read_identifiers(write("o.csv", f"{header}\nhttp://data.europa.eu/esco/occupation/ab,1.2\n"))["ab"] == "1.2"
        )
    with pytest.raises(TaxonomyError, match="no columns uri,esco_code nor conceptUri,code"):
        read_identifiers(write("p.csv", "id,number\n1,2\n"))
    esco = read_identifiers(write("u.csv", "uri,esco_code\nhttp://data.europa.eu/esco/occupation/ab,1.2\n"))
    assert esco["occupation/ab"] == esco["ab"] == "1.2" and esco["isco/C1111"] == "1111"
    for text, message in [
        ("a,b,c\n1,2,3\n", "none of the known tables"),
        ("source,target\n1,2,3\n", "do not have the 2 columns"),
        ("source,target,weight\n1,2,x\n", "row 2: the weight is 'x'"),
        ("source,target\n", "no pair of codes"),
        ("", "is empty"),
    ]:
        with pytest.raises(TaxonomyError, match=message):
            read_correspondence(write("bad.csv", text))
    with pytest.raises(TaxonomyError, match="no column 'alte'"):
        read_correspondence(tmp_path / "two.csv", source="alte", target="neu")
    with pytest.raises(FileNotFoundError):
        read_correspondence(tmp_path / "none.csv")
    with pytest.raises(TaxonomyError, match="cannot be read as Excel"):
        read_correspondence(write("no.xlsx", "text"))


def test_numbers_in_a_sheet_are_codes_only_in_full_length(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")

    def sheet(*rows):
        book = openpyxl.Workbook()
        book.active.append(["A correspondence table"])
        for row in [("source", "target"), *rows]:
            book.active.append(row)
        book.save(tmp_path / "t.xlsx")
        return tmp_path / "t.xlsx"

    assert read_correspondence(sheet((1101, "a"), ("0110", "b"))).links == {"1101": {"a": 1}, "0110": {"b": 1}}
    with pytest.raises(TaxonomyError, match="row 4: the source code 110 is a number"):
        read_correspondence(sheet((1101, "a"), (110, "b")))


#: a few rows in the layout of the ILO's corrtab88-08.xls, codes as text
ILO_TABLE = [
    ("ISCO-88 Title EN", "ISCO-88 code", "ISCO 08 Code", "ISCO-08 part", "ISCO-08 Title EN", "Comments"),
    ("Armed forces", "0110", "0110", "", "Commissioned armed forces officers", ""),
    ("Armed forces", "0110", "0210", "", "Non-commissioned armed forces officers", ""),
    ("Armed forces", "0110", "0310", "", "Armed forces occupations, other ranks", ""),
    ("Legislators", "1110", "1111", "", "Legislators", ""),
    ("Senior government officials", "1120", "1112", "", "Senior government officials", ""),
    ("Directors and chief executives", "1210", "1112", "p", "Senior government officials", "Public sector"),
    ("Directors and chief executives", "1210", "1120", "", "Managing directors and chief executives", ""),
    ("Computer systems designers and analysts", "2131", "2511", "", "Systems analysts", ""),
    ("Computer systems designers and analysts", "2131", "2512", "p", "Software developers", ""),
]


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_isco_88_to_isco_08_in_the_layout_of_the_ilo(tmp_path, suffix):
    path = tmp_path / f"corrtab88-08.{suffix}"
    if suffix == "csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows(ILO_TABLE)
    else:
        book = pytest.importorskip("openpyxl").Workbook()
        for row in ILO_TABLE:
            book.active.append([cell or None for cell in row])
        book.save(path)
    table = read_correspondence(path)
    assert table.links["1210"] == {"1112": 1, "1120": 1} and set(table.links["0110"]) == {"0110", "0210", "0310"}
    assert table.source_titles["1210"].startswith("Directors") and table.target_titles["1111"] == "Legislators"
    plan = plan_revision(table, isco08())
    moved = {code: (change.kind, change.gold) for code, change in plan.codes.items()}
    assert moved == {
        "0110": ("split", "0"), "1110": ("renamed", "1111"), "1120": ("merged", "1112"), "1210": ("split", "11"),
        "2131": ("split", "251"),
    }  # fmt: skip
    back = read_correspondence(path).reverse()
    assert set(back.links["1112"]) == {"1120", "1210"}
