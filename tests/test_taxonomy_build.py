"""Trees from edges and from prefixes, and what is said about lists that are not trees."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc import TaxonomyError
from hjc.taxonomy import Taxonomy, from_edges, from_prefix_codes, isco08

from .strategies import edges

SOC = ["11-0000", "11-1000", "11-1010", "11-1011", "11-1020", "11-1021", "11-2000", "11-2010", "11-2011"]
SOC_PARENTS = ["", "11-0000", "11-1000", "11-1010", "11-1000", "11-1020", "11-0000", "11-2000", "11-2010"]


def edges_of(tree: Taxonomy) -> dict[str, str]:
    return {c: tree.codes[p] if p >= 0 else "" for c, p in zip(tree.codes, tree.parents.tolist(), strict=True)}


@given(edges(), st.data())
def test_from_edges_keeps_edges_and_texts(pairs, data):
    codes, parents = pairs
    texts = data.draw(st.lists(st.text(max_size=4), min_size=len(codes), max_size=len(codes)))
    aligned = from_edges(codes, parents, titles={"en": texts}, descriptions={"pl": texts[::-1]})
    by_code = from_edges(
        codes, parents, titles={"en": dict(zip(codes, texts, strict=True))}, descriptions={"pl": texts[::-1]}
    )
    assert edges_of(aligned) == dict(zip(codes, parents, strict=True))
    assert aligned.titles == by_code.titles
    assert dict(zip(aligned.codes, aligned.titles["en"], strict=True)) == dict(zip(codes, texts, strict=True))
    assert dict(zip(aligned.codes, aligned.descriptions["pl"], strict=True)) == dict(
        zip(codes, texts[::-1], strict=True)
    )


def test_missing_parents_and_blanks():
    top = [None, "", float("nan"), pd.NA, np.float64("nan"), np.float32("nan"), "  "]
    tree = from_edges([f" {i}" for i in range(7)], top)
    assert tree.codes == tuple("0123456") and tree.depth == 1
    frame = pd.DataFrame({"code": ["1", "11"], "parent": [None, "1"]})
    assert edges_of(from_edges(frame["code"], frame["parent"])) == {"1": "", "11": "1"}


def test_mapping_titles_may_leave_gaps_but_not_name_strangers():
    tree = from_edges(["a", "b"], ["", "a"], titles={"en": {"b": "B"}, "pl": [None, float("nan")]})
    assert tree.titles == {"en": ("", "B"), "pl": ("", "")}
    with pytest.raises(TaxonomyError, match=r"titles\['en'\] has texts for unknown codes: 'z'"):
        from_edges(["a"], [""], titles={"en": {"z": "Z"}})
    with pytest.raises(TaxonomyError, match=r"descriptions\['en'\]: got 2 texts for 1 codes"):
        from_edges(["a"], [""], descriptions={"en": ["1", "2"]})


@pytest.mark.parametrize(
    ("codes", "parents", "message"),
    [
        ([], [], "at least one code"),
        (["a"], [], "1 codes but 0 parents"),
        (["a", "", None], ["", "", ""], "rows without a code: 'row 2', 'row 3'"),
        (["a", "b", "a", "b", "a"], [""] * 5, "duplicate codes: 'a', 'b'$"),
        (["a", " a"], ["", ""], "duplicate codes: 'a'"),
        (["a", "b"], ["", "b"], "own parent: 'b'"),
        (["a", "b"], ["", "z"], r"parent is not in the list: 'b \(parent z\)'"),
        (["a", "b", "c", "d"], ["", "d", "b", "c"], r"cycle\): 'b', 'd', 'c'$"),
        (["a", "b", "c", "d"], ["b", "c", "b", "a"], r"cycle\): 'b', 'c'$"),  # a and d only hang on it
        ([110, 120], ["", ""], r"codes must be text, got int: '110', '120'.*dtype=str"),
        (["110"], [11.0], "parents must be text, got float"),
    ],
)
def test_edges_that_are_not_a_tree(codes, parents, message):
    with pytest.raises(TaxonomyError, match=message):
        from_edges(codes, parents)


def test_errors_name_five_codes_and_how_many_more():
    with pytest.raises(TaxonomyError) as error:
        from_edges([f"x{i}" for i in range(8)], ["y"] * 8, name="mine")
    assert str(error.value).startswith("mine is not a tree: ")
    assert "'x4 (parent y)' and 3 more" in str(error.value) and "x5" not in str(error.value)


def test_all_kinds_of_problems_in_one_message():
    with pytest.raises(TaxonomyError) as error:
        from_edges(["a", "a", "b", "c", "d", "e"], ["", "", "b", "zz", "e", "d"])
    for part in ("duplicate", "own parent", "not in the list", "cycle"):
        assert part in str(error.value)


@given(edges(plain_codes=True), st.data())
def test_one_wrong_edge_is_found(pairs, data):
    codes, parents = map(list, pairs)
    i = data.draw(st.integers(0, len(codes) - 1))
    below = {codes[i]}
    for _ in codes:
        below |= {c for c, p in zip(codes, parents, strict=True) if p in below}
    parents[i] = data.draw(st.sampled_from(sorted(below)))
    with pytest.raises(TaxonomyError, match=codes[i]):
        from_edges(codes, parents)


# ---------------------------------------------------------------------- prefixes


def test_isco_from_its_leaves_and_from_all_codes():
    isco = isco08()
    from_leaves = from_prefix_codes(isco.leaf_codes, [1, 2, 3, 4])
    assert from_leaves == isco and from_leaves.titles == {}
    titles = {"en": dict(zip(isco.codes, isco.titles["en"], strict=True))}
    complete = from_prefix_codes(reversed(isco.codes), [1, 2, 3, 4], titles=titles, missing="error", name="x")
    assert complete == isco and complete.titles["en"] == isco.titles["en"] and complete.name == "x"


def test_kzis_scheme_and_created_codes_have_no_title():
    tree = from_prefix_codes(["111101", "111102", "21"], [1, 2, 3, 4, 6], titles={"pl": ["a", "b", "c"]})
    assert edges_of(tree) == {
        "1": "", "2": "", "11": "1", "21": "2", "111": "11", "1111": "111", "111101": "1111", "111102": "1111",
    }  # fmt: skip
    assert tree.titles["pl"] == ("", "", "", "c", "", "", "a", "b")
    assert tree.leaf_codes == ("111101", "111102", "21")


def test_missing_inner_codes_are_reported():
    codes = ["1", "111", "1121", "2"]
    with pytest.raises(TaxonomyError, match="inner codes missing from the list: '11', '112'"):
        from_prefix_codes(codes, [1, 2, 3, 4], missing="error")
    with pytest.raises(ValueError, match="allowed are create"):
        from_prefix_codes(codes, [1, 2, 3, 4], missing="guess")


@given(st.lists(st.text("0123456789", min_size=6, max_size=6), min_size=1, max_size=40, unique=True))
def test_prefix_tree_against_slicing(leaves):
    digits = [1, 2, 3, 4, 6]
    tree = from_prefix_codes(leaves, digits)
    assert set(tree.codes) == {leaf[:d] for leaf in leaves for d in digits}
    for code, parent in edges_of(tree).items():
        assert parent == (code[: digits[digits.index(len(code)) - 1]] if len(code) > 1 else "")
    assert [[tree.codes[i] for i in row] for row in tree.path] == [[c[:d] for d in digits] for c in tree.leaf_codes]


@pytest.mark.parametrize(
    ("codes", "kwargs", "message"),
    [
        (["1", "11", "11111"], {}, r"length fits no level of digits=\[1, 2\]: '11111'"),
        (["1", "1"], {}, "duplicate codes: '1'"),
        (["1", ""], {}, "rows without a code: 'row 2'"),
        ([11], {}, "must be text"),
    ],
)
def test_prefix_codes_that_are_not_a_tree(codes, kwargs, message):
    with pytest.raises(TaxonomyError, match=message):
        from_prefix_codes(codes, [1, 2], **kwargs)


@pytest.mark.parametrize("digits", [[], [0, 1], [2, 1], [1, 1], [1.5, 2], [True, 2]])
def test_digits_that_make_no_sense(digits):
    with pytest.raises(ValueError, match="digits: got"):
        from_prefix_codes(["1"], digits)
