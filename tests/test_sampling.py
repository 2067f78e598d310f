"""The paper's sampling and splitting rules on examples worked by hand, and as properties."""

from collections import Counter
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.corpus.sampling import (
    count_characters,
    design_weights,
    draw_in_strata,
    hold_out,
    length_bins,
    nearest,
    split_by_source_and_code,
    strata_of,
    stratified_sample,
    systematic_pps,
)
from hjc.data.splitting import TEST, TRAIN


def test_rounding_of_halves() -> None:
    assert nearest(0.7, [1, 2, 3, 4, 5, 15, 45]).tolist() == [1, 1, 2, 3, 4, 10, 32]  # 3.5 -> 4, 10.5 -> 10, 31.5 -> 32
    assert nearest(0.7, [5, 15, 45], halves="up").tolist() == [4, 11, 32]
    assert nearest(0.15, [10, 30]).tolist() == [2, 4]  # 1.5 -> 2, 4.5 -> 4
    assert [nearest(0.2, n).item() for n in (2, 3, 7, 8, 12, 13)] == [0, 1, 1, 2, 2, 3]
    with pytest.raises(ValueError, match="halves"):
        nearest(0.5, [1], halves="down")
    with pytest.raises(ValueError, match="fraction"):
        nearest(1.5, [1])


@given(st.integers(0, 1000), st.integers(0, 10**6), st.booleans())
def test_rounding_is_decimal_rounding(thousandths: int, count: int, up: bool) -> None:
    fraction = thousandths / 1000
    expected = (Decimal(str(fraction)) * count).quantize(Decimal(1), ROUND_HALF_UP if up else ROUND_HALF_EVEN)
    assert nearest(fraction, [count], halves="up" if up else "even").item() == int(expected)


def test_no_half_at_the_papers_fraction() -> None:
    counts = np.arange(1, 5000)
    assert (nearest(0.2, counts) == nearest(0.2, counts, halves="up")).all()


def test_length_bins_of_the_papers_tables() -> None:
    assert length_bins([0, 50, 51, 100, 101, 200, 300, 301, 500, 501, 10**6]).tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        4,
        5,
        6,
        6,
    ]
    assert length_bins([1, 10, 11, 25, 300, 301], [10, 25, 300]).tolist() == [0, 0, 1, 1, 2, 3]


def test_sample_by_code_and_length_by_hand() -> None:
    # code A: 13 texts of up to 50 characters (round(2.6) = 3), 2 of 51 to 100 (round(0.4) = 0, so 1);
    # code B: 1 text (1), 12 texts above 500 (round(2.4) = 2)
    codes = ["A"] * 15 + ["B"] * 13
    texts = ["x" * 50] * 13 + ["x" * 51] * 2 + ["x" * 200] + ["x" * 501] * 12
    stratum = strata_of(codes, length_bins(count_characters(texts)))
    drawn = stratified_sample(stratum, 0.2)
    assert [drawn[:13].sum(), drawn[13:15].sum(), drawn[15], drawn[16:].sum()] == [3, 1, True, 2]
    weights = design_weights(stratum, drawn)
    assert weights.sum() == pytest.approx(28) and sorted(set(weights.tolist())) == [0, 1, 2, pytest.approx(13 / 3), 6]
    assert (stratified_sample(stratum, 0.2, seed=2) != drawn).any()
    assert (stratified_sample(stratum, 0.2) == drawn).all()


def test_split_by_hand() -> None:
    # CBOP/1: 10 -> 7 train; CBOP/2: 1 -> test; HAND/1: 1 -> test (another source's rows of the code do not count);
    # HAND/2: 2 -> round(1.4) = 1; HAND/3: 3 -> round(2.1) = 2; dictionary: all train, even single codes
    rows = [("CBOP", "1", 10), ("CBOP", "2", 1), ("HAND", "1", 1), ("HAND", "2", 2), ("HAND", "3", 3), ("DICT", "9", 1),
            ("DICT", "1", 4)]  # fmt: skip
    sources = [s for s, _, n in rows for _ in range(n)]
    codes = [c for _, c, n in rows for _ in range(n)]
    side = split_by_source_and_code(codes, sources, train_only={"DICT"})
    trained = Counter((s, c) for s, c, x in zip(sources, codes, side, strict=True) if x == TRAIN)
    tested = Counter((s, c) for s, c, x in zip(sources, codes, side, strict=True) if x == TEST)
    assert trained == {("CBOP", "1"): 7, ("HAND", "2"): 1, ("HAND", "3"): 2, ("DICT", "9"): 1, ("DICT", "1"): 4}
    assert tested == {("CBOP", "1"): 3, ("CBOP", "2"): 1, ("HAND", "1"): 1, ("HAND", "2"): 1, ("HAND", "3"): 1}
    with pytest.raises(ValueError, match="no code"):
        split_by_source_and_code(["", "1"], ["a", "a"])
    with pytest.raises(ValueError, match="train_only"):
        split_by_source_and_code(["1"], ["a"], train_only=["b"])
    assert (split_by_source_and_code(["1", "2"], ["d", "d"], train_only=["d"]) == TRAIN).all()


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=60), st.sampled_from([0.0, 0.1, 0.5, 1.0])
)
def test_sizes_of_every_stratum(rows: list[tuple[str, int]], fraction: float) -> None:
    letters, numbers = [r[0] for r in rows], [r[1] for r in rows]
    stratum = strata_of(letters, numbers)
    pairs = sorted(set(rows))
    assert stratum.tolist() == [pairs.index(row) for row in rows]
    drawn = stratified_sample(stratum, fraction)
    for pair, size in Counter(rows).items():
        got = sum(d for row, d in zip(rows, drawn.tolist(), strict=True) if row == pair)
        assert got == max(1, round(fraction * size))


def test_draws_are_uniform_within_a_stratum() -> None:
    stratum = np.array([0] * 5 + [1] * 3)
    counts = sum(draw_in_strata(stratum, [2, 1], seed).astype(int) for seed in range(3000))
    assert np.abs(counts[:5] / 3000 - 0.4).max() < 0.04 and np.abs(counts[5:] / 3000 - 1 / 3).max() < 0.04
    with pytest.raises(ValueError, match="sizes"):
        draw_in_strata(stratum, [6, 1])
    with pytest.raises(ValueError, match="rows; all need as many"):
        strata_of([1, 2], [1])


def test_systematic_pps() -> None:
    sizes = np.array([100.0, 1, 1, 1, 1, 0])  # the first is certain; the other four share one draw
    drawn, probability = systematic_pps(sizes, 2)
    assert probability.tolist() == [1, 0.25, 0.25, 0.25, 0.25, 0] and drawn.sum() == 2 and drawn[0] and not drawn[5]
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 50, 40).astype(float)
    draws = [systematic_pps(sizes, 12, seed) for seed in range(2000)]
    assert all(d.sum() == 12 for d, _ in draws)
    assert np.abs(np.mean([d for d, _ in draws], axis=0) - draws[0][1]).max() < 0.05
    assert draws[0][1].sum() == pytest.approx(12)
    with pytest.raises(ValueError, match="n: got"):
        systematic_pps([0, 1], 2)


def test_validation_rows_are_of_dealt_sources_and_leave_every_code_a_training_row(call, tmp_path) -> None:
    rows = [(f"a{i}", str(i % 3), "ads") for i in range(60)] + [("d", str(c), "dict") for c in range(9)]
    pd.DataFrame(rows, columns=["text", "code", "source"]).to_parquet(tmp_path / "all.parquet")
    how = ["--source-column", "source", "--train-only", "dict", "--valid-fraction", "0.1"]
    code, _, err = call("data", "split", tmp_path / "all.parquet", "-o", tmp_path / "dealt.parquet", *how)
    assert code == 0 and "47 rows train, 4 validate and 18 test" in err, err  # 42 of 60 are dealt to training
    dealt = pd.read_parquet(tmp_path / "dealt.parquet")
    assert set(dealt[dealt["split"] == "valid"]["source"]) == {"ads"}
    codes, everything = ["a", "a", "b", "c"], np.ones(4, dtype=bool)
    assert hold_out(codes, everything, everything, 1.0).sum() == 1  # the second row of "a" alone can be spared
    assert hold_out(codes, everything, everything, 0.0).sum() == 0


def test_commands_with_spoiled_and_missing_codes(call, tmp_path) -> None:
    """1120, 1120.0 and " 1120" are one stratum, and a row without a code stays, on no side."""
    import json

    (tmp_path / "ads.csv").write_text("code,text\n1120,a\n1120.0,b\n 1120,c\n,d\n5,e\n", encoding="utf-8")
    code, _, err = call("data", "split", tmp_path / "ads.csv", "-o", tmp_path / "dealt.csv")
    assert code == 0 and "1 codes are written as decimal" in err and "1 rows have no code" in err
    dealt = pd.read_csv(tmp_path / "dealt.csv", dtype=str, keep_default_na=False)
    assert sorted(dealt["split"][:3]) == ["test", "train", "train"] and dealt["split"][3:].tolist() == ["", "test"]
    assert dealt["code"].tolist() == ["1120", "1120.0", " 1120", "", "5"]  # as they were
    log = json.loads((tmp_path / "dealt.csv.log.json").read_text())
    assert log["rows_in"] == log["train"] + log["test"] + log["rows_without_code"] == 5
    code, _, err = call(
        "data", "sample", tmp_path / "ads.csv", "-o", tmp_path / "s.csv", "--rule", "code-length", "--fraction", "0.2"
    )
    assert code == 0 and "they are strata of their own" in err
    assert sorted(pd.read_csv(tmp_path / "s.csv")["design_weight"]) == [1, 1, 3]
