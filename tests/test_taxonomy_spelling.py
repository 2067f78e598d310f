"""Spoiled codes: every reading is found, none is chosen where there are two."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc import TaxonomyError
from hjc.taxonomy import explain_unknown, from_edges, isco08, repair_codes
from hjc.taxonomy.spelling import check_classification

LOST = "'110' looks like '0110' with a lost leading zero: read codes as text, or pass restore_zeros=True"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("110", LOST),
        (110, LOST),
        ("11.0", "'11.0' may be '11' or '011'"),
        ("1120.0", "'1120.0' looks like '1120' read as a decimal number"),
        (1120.0, "'1120.0' looks like '1120' read as a decimal number"),
        ("\u00a01120 ", "is '1120' with surrounding blanks"),
        ("\ufeff1120", "is '1120' with surrounding blanks"),
        ("112003", "'112003' lies below '1120', a leaf of this tree"),
        ("11-20", "'11-20' looks like '1120' written in another way"),
        ("pilot", "codes of this tree look like '0110'"),
        ("", "missing value"),
        (None, "missing value"),
        (float("nan"), "missing value"),
    ],
)
def test_encode_explains(value, sentence):
    with pytest.raises(TaxonomyError) as error:
        isco08().encode(["1120", value])
    assert str(error.value).startswith("unknown codes in 'isco08': ") and sentence in str(error.value)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ('="2221"', "2221"),
        ("'8332", "8332"),
        ("C5120", "5120"),
        ("ISCO08-7212", "7212"),
        ("ISCO-08 7212", "7212"),
        ("isco:7212", "7212"),
        ("http://data.europa.eu/esco/isco/C2341", "2341"),
        ("http://data.europa.eu/esco/isco/C2341/", "2341"),
        ("\uff12\uff12\uff12\uff11", "2221"),
        ('="110"', "0110"),
        ("2,221", "2221"),
        ("1120,0", "1120"),
        ("2221 Nursing professionals", "2221"),
        ("2221.", "2221"),
        ("2100", "21"),
        ("2000", "2"),
    ],
)
def test_other_spellings_are_guessed_and_not_changed(value, code):
    got, report = repair_codes(isco08(), [value, "2512"])
    assert got == [value, "2512"] and report.counts == {"spelling": 1, "known": 1} and report.rejected == 1
    assert f"looks like {code!r}" in report.reasons[value]


def test_a_guess_that_names_an_edition_asks_for_it():
    (reason,) = repair_codes(isco08(), ["ISCO88-7212"])[1].reasons.values()
    assert reason == "'ISCO88-7212' looks like '7212' written in another way, if ISCO88 is this tree"


@pytest.mark.parametrize("value", ["21000", "A2221", "Z9", "9999", "2221-2512-1"])
def test_no_guess_where_nothing_fits(value):
    assert "looks like" not in repair_codes(isco08(), [value])[1].reasons[value]


@given(st.sampled_from(isco08().codes), st.sampled_from("\u200b\u200d\ufeff\u2060\u00ad"), st.integers(0, 4))
def test_invisible_characters_are_taken_off(code, mark, at):
    got, report = repair_codes(isco08(), [code[:at] + mark + code[at:]])
    assert got == [code] and report.counts == {"blanks": 1}


def test_codes_of_another_classification_stop():
    known = ["2221"] * 30
    for codes, stops in (
        ([str(90000 + i) for i in range(60)] + known, True),
        (["90000"] * 31 + known, True),
        (["90000"] * 30 + known, False),
        (["90000"] * 9, True),
        (["90000"] * 9 + ["2221"], False),
        ([None] * 99 + known, False),
        ([], False),
    ):
        report = repair_codes(isco08(), codes)[1]
        if stops:
            with pytest.raises(TaxonomyError, match=r"ads.csv: .*--taxonomy.* taxonomy.path=FILE"):
                check_classification(isco08(), report, "ads.csv", "isco08")
        else:
            check_classification(isco08(), report, "ads.csv", "isco08")


def test_explanation_names_five_and_one_example_of_each_kind():
    text = explain_unknown(isco08(), ["110", "210", "310", "1120.0", "1211.0", "x", "y"])
    assert "'110', '210', '310', '1120.0', '1211.0' and 2 more" in text
    assert text.count("looks like") == 2 and LOST in text and "'1120.0' looks like '1120'" in text


def test_clean_codes_are_left_alone():
    codes = list(isco08().codes)
    got, report = repair_codes(isco08(), codes)
    assert got == codes and not report and str(report) == "" and report.counts == {"known": 619}
    assert repair_codes(isco08(), [])[0] == []


def test_default_strips_blanks_and_decimals_and_reports_them():
    got, report = repair_codes(isco08(), [" 1120", "1120.0", "1120.00", "0110", "1120", None, "", " ", pd.NA])
    assert got == ["1120", "1120", "1120", "0110", "1120", "", "", "", ""]
    assert report.counts == {"blanks": 1, "decimal": 2, "known": 2, "missing": 4}
    assert report.changed == {" 1120": "1120", "1120.0": "1120", "1120.00": "1120"}
    assert report.repaired == 3 and report.rejected == 0 and not report.reasons and report
    assert "2 of 9 codes: decimal numbers" in str(report) and "'1120.0 -> 1120'" in str(report)


def test_zeros_are_restored_only_when_asked():
    got, report = repair_codes(isco08(), ["110", "310.0", "2512", "110"])
    assert got == ["110", "310.0", "2512", "110"]
    assert report.counts == {"lost_zeros": 3, "known": 1} and report.rejected == 3
    assert report.reasons["110"] == LOST and LOST in str(report)
    got, report = repair_codes(isco08(), ["110", "310.0", "2512", "110"], restore_zeros=True)
    assert got == ["0110", "0310", "2512", "0110"]
    assert report.counts == {"zeros": 3, "known": 1} and report.rejected == 0
    assert report.changed == {"110": "0110", "310.0": "0310"}


def test_two_readings_are_never_guessed():
    for restore in (False, True):
        got, report = repair_codes(isco08(), ["11.0", "1.0", 21, "2512"], restore_zeros=restore)
        assert got == ["11.0", "1.0", "21", "2512"]
        assert report.counts == {"ambiguous": 3, "known": 1}
        assert "'11.0' may be '11' or '011'" in report.reasons["11.0"]
        # A code that is one as it stands is not touched, but suspect where other codes have lost zeros.
        got, report = repair_codes(isco08(), ["11", "110", "2512"], restore_zeros=restore)
        assert got[0] == "11" and report.suspect == {"11": ("011",)} and "'11 (or 011)'" in str(report)
        assert not repair_codes(isco08(), ["11", "2512"], restore_zeros=restore)[1]


def test_width_decides():
    assert repair_codes(isco08(), ["11", "11.0", "111", "21"], True, 3)[0] == ["011", "011", "111", "021"]
    assert repair_codes(isco08(), ["11", "11.0", 1.0, "1"], True, 2)[0] == ["11", "11", "01", "01"]
    assert repair_codes(isco08(), ["11.0"], width=2)[0] == ["11"]
    assert repair_codes(isco08(), ["110", "11", 2512], True, 4)[0] == ["0110", "11", "2512"]
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="width: got"):
            repair_codes(isco08(), [], width=wrong)


def test_numbers_and_unknown_values():
    got, report = repair_codes(isco08(), [2512, np.int64(2512), np.float64(2512), 2512.5, np.float32("nan"), "zz"])
    assert got == ["2512", "2512", "2512", "2512.5", "", "zz"]
    below = "'2512.5' lies below '2512', a leaf of this tree: cut the codes, or use a deeper tree"
    assert report.reasons == {"2512.5": below, "zz": "'zz' is not in the tree"}
    assert "2 of 6 codes are not in the tree: '2512.5', 'zz'" in str(report)


def test_codes_with_a_point_lose_zeros_at_both_ends():
    tree = from_edges(["0110", "0110.1", "0110.10", "0110.2"], ["", "0110", "0110", "0110"])
    got, report = repair_codes(tree, ["110.1", "110.2"], restore_zeros=True)
    assert got == ["110.1", "0110.2"]
    assert "may be '0110.1' or '0110.10'" in report.reasons["110.1"]


def test_letters_and_punctuation():
    soc = from_edges(["11-1010", "11-1011", "11-1021"], ["", "11-1010", "11-1010"])
    assert "'111011' looks like '11-1011' written in another way" in explain_unknown(soc, ["111011"])
    rome = from_edges(["A", "A11", "A1101"], ["", "A", "A11"])
    assert repair_codes(rome, ["A1101 ", "a11"])[0] == ["A1101", "a11"]
    assert "'a11' looks like 'A11'" in explain_unknown(rome, ["a11"])


@given(st.lists(st.sampled_from(isco08().leaf_codes), min_size=1, max_size=30), st.sampled_from([int, float, str]))
def test_a_column_of_leaves_survives_any_reading(codes, kind):
    """Read as numbers or decimals, four-digit codes come back with restore_zeros and width=4, and mostly without."""
    spoiled = [str(kind(c)) if kind is not str else f" {c} " for c in codes]
    assert repair_codes(isco08(), spoiled, restore_zeros=True, width=4)[0] == codes
    assert repair_codes(isco08(), spoiled, restore_zeros=True)[0] == codes  # leaves have one reading each
    got, report = repair_codes(isco08(), spoiled)
    for code, value in zip(codes, got, strict=True):
        assert value == code if kind is str or code[0] != "0" else value in report.reasons
    assert report.rejected == (0 if kind is str else sum(c[0] == "0" for c in codes))
