"""The real trees, with the counts that their offices publish."""

import csv
import gzip

import numpy as np
import pytest

from hjc.taxonomy import check_taxonomy_file, describe, from_edges, from_prefix_codes, isco08, read_taxonomy_csv

from .strategies import random_log_proba

pytestmark = pytest.mark.realdata


def sizes(tree):
    return [x.nodes for x in describe(tree).levels]


def assert_coherent(tree):
    log_p = random_log_proba(tree.num_leaves, 3, 0, scale=8).astype(np.float32)
    for level in range(1, tree.depth + 1):
        total = np.exp(tree.aggregate(log_p, level).astype(np.float64)).sum(axis=1)
        np.testing.assert_allclose(total, 1, atol=1e-5)


def test_kzis(realdata):
    tree = read_taxonomy_csv(realdata / "kzis" / "kzis_hierarchy_2023.csv")
    summary = describe(tree)
    assert sizes(tree) == [10, 43, 134, 445, 2911] and summary.single_children == 97 and summary.groups == 633
    assert not summary.ragged and tree.num_leaves == 2911
    assert tree.hash == "65e3ac15bdc121047437ed2848f8ffc6e311286d9884875ca7c459e9e9935fa0"
    assert_coherent(tree)
    assert check_taxonomy_file(realdata / "kzis" / "kzis_hierarchy_2023.csv") == []


def test_kzis_as_the_reference_tool_reads_it(realdata):
    path = realdata / "raw" / "kzis" / "kzis-hierarchy-2023.tsv"
    tree = read_taxonomy_csv(path)
    assert tree == read_taxonomy_csv(path, digits=[1, 2, 3, 4, 6])
    assert tree == read_taxonomy_csv(realdata / "kzis" / "kzis_hierarchy_2023.csv")
    assert tree == from_prefix_codes(tree.leaf_codes, [1, 2, 3, 4, 6])
    assert tree.title(tree.index_of["1111"]) == "Przedstawiciele władz publicznych"


def test_esco_is_ragged(realdata):
    with gzip.open(realdata / "esco" / "occupations.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    isco = isco08()
    tree = from_edges(
        [*isco.codes, *(row["esco_code"] for row in rows)],
        [*(isco.codes[p] if p >= 0 else None for p in isco.parents), *(row["parent"] for row in rows)],
        name="esco",
    )
    assert sizes(tree) == [10, 43, 130, 436, 1701, 1064, 136, 41]
    summary = describe(tree)
    assert summary.ragged and set(summary.leaf_depths) == {4, 5, 6, 7, 8}  # 10 unit groups have no occupation
    assert_coherent(tree)
    cut = tree.truncate(4)
    assert cut == isco
    assert cut.codes[tree.truncation_map(4)[tree.index_of["2166.4.7"]]] == "2166"


def test_onet(realdata):
    tree = read_taxonomy_csv(realdata / "onet" / "soc2018_onet_hierarchy.csv")
    assert sizes(tree) == [23, 98, 459, 867, 1016] and describe(tree).single_children == 1087
    assert_coherent(tree)


def test_isco_agrees_with_the_official_list(realdata):
    official = read_taxonomy_csv(realdata / "isco08" / "isco08_structure_en.csv.gz")
    assert official == isco08() and describe(official).descriptions["und"] > 600


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("soc2018_us/structure_definitions.csv.gz", [23, 98, 459, 867]),
        ("rome_fr/hierarchy.csv", [14, 110, 1584]),
        ("noc2021_ca/hierarchy.csv", [10, 45, 89, 162, 516]),
        ("uk_soc2010/structure.csv", [9, 25, 90, 369]),
        ("ssyk2012_se/hierarchy.csv.gz", [10, 46, 147, 400]),
        ("usajobs_opm/opm_hierarchy.csv", [3, 60, 669]),
    ],
)
def test_other_countries(realdata, path, expected):
    tree = read_taxonomy_csv(realdata / path)
    assert sizes(tree) == expected
    assert_coherent(tree)
    assert [p for p in check_taxonomy_file(realdata / path) if p.severity == "error"] == []
