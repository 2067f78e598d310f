"""Crosswalks between official taxonomies, from the offices' own tables."""

import csv

import numpy as np
import pytest

from hjc.crosswalk.mapping import Crosswalk, build_crosswalk
from hjc.crosswalk.readers import read_correspondence, read_identifiers
from hjc.taxonomy import from_edges, isco08, read_taxonomy_csv

from .strategies import random_log_proba


def esco_tree(path):
    import gzip

    isco = isco08()
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    parents = [isco.codes[p] if p >= 0 else None for p in isco.parents]
    return from_edges(
        [*isco.codes, *(r["esco_code"] for r in rows)], [*parents, *(r["parent"] for r in rows)], name=path.stem
    )


@pytest.mark.slow
@pytest.mark.realdata
def test_isco_to_soc_2018_conserves_mass(realdata):
    soc = read_taxonomy_csv(realdata / "soc2018_us" / "structure_definitions.csv.gz")
    cw = build_crosswalk(read_correspondence(realdata / "crosswalks" / "isco08_soc2018_derived.csv"), isco08(), soc)
    s = cw.statistics()
    assert (s.source_codes, s.pairs, s.mapped, s.unmapped) == (436, 1317, 436, 0)
    assert (s.one_to_one, s.one_to_many, s.many_to_one, s.many_to_many) == (87, 73, 50, 226)
    log_p = random_log_proba(436, 200, 0, 8).astype(np.float32)
    found = cw.transfer(log_p)
    mass = np.exp(log_p.astype(np.float64)).sum(axis=1)
    assert np.abs(found.proba.sum(axis=1) + found.unmapped - mass).max() < 1e-12
    for level in range(1, soc.depth + 1):
        total = np.exp(soc.aggregate(found.log_proba, level)).sum(axis=1) + found.unmapped
        assert np.abs(total - 1).max() < 1e-6
    # there and back again, through the two published tables instead of their join
    back = build_crosswalk(
        read_correspondence(realdata / "crosswalks" / "isco08_soc2018_derived.csv").reverse(), soc, isco08()
    )
    there = cw.then(back).transfer(log_p)
    assert np.abs(there.proba.sum(axis=1) + there.unmapped - mass).max() < 1e-12


@pytest.mark.realdata
def test_the_other_official_tables(realdata):
    kzis = read_taxonomy_csv(realdata / "kzis" / "kzis_hierarchy_2023.csv")
    onet = read_taxonomy_csv(realdata / "onet" / "soc2018_onet_hierarchy.csv")
    ssyk = read_taxonomy_csv(realdata / "ssyk2012_se" / "hierarchy.csv.gz")
    old, new = (
        esco_tree(realdata / "esco" / f) for f in ("occupations.csv.gz", "esco_v1.2.1_occupations_en_pl.csv.gz")
    )

    kzis_esco = build_crosswalk(read_correspondence(realdata / "kzis" / "kzis_esco_crosswalk.csv"), kzis, old)
    s = kzis_esco.statistics()
    assert (s.pairs, s.source_codes, s.mapped, s.leaves, s.unknown_target) == (2376, 2363, 2363, 2911, ())
    assert s.unmapped_share == pytest.approx(548 / 2911)
    bridge = build_crosswalk(read_correspondence(realdata / "esco" / "esco_code_bridge_v108_v121.csv.gz"), old, new)
    s = bridge.statistics()
    assert s.one_to_one == s.source_codes == 2937 and s.unknown_source == s.unknown_target == ()
    s = build_crosswalk(
        read_correspondence(realdata / "crosswalks" / "ssyk2012_isco08.csv"), ssyk, isco08()
    ).statistics()
    assert (s.pairs, s.mapped, s.unmapped) == (565, 400, 0)
    pairs = read_correspondence(realdata / "crosswalks" / "onet_esco.csv.gz")
    assert len(pairs) == 4253
    ids = read_identifiers(realdata / "esco" / "esco_v1.2.1_occupations_en_pl.csv.gz")
    s = build_crosswalk(pairs.relabel(target=ids), onet, new).statistics()
    assert s.source_codes >= 940 and all(c.startswith("occupation/") for c in s.unknown_target)
    # KZiS -> ESCO 1.0.8 -> ESCO 1.2.1 -> ISCO unit groups
    chain = kzis_esco.then(bridge).then(Crosswalk.truncation(new, 4))
    log_p = random_log_proba(kzis.num_leaves, 20, 0)
    found = chain.transfer(log_p)
    assert np.abs(found.proba.sum(axis=1) + found.unmapped - 1).max() < 1e-9
    assert chain.target == isco08()
