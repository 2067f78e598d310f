"""`hjc taxonomy import` and `hjc data from-taxonomy` on damaged and odd files, for every office's layout.

The damages are those of test_commands_fuzz; here one file of what an office publishes is damaged, the others are whole.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from .test_commands_fuzz import DAMAGES, REFUSED, damaged, save, the_message

pytestmark = pytest.mark.slow

ESCO = "http://data.europa.eu/esco"


def frame(header: str, *rows: str) -> pd.DataFrame:
    """A table of strings; cells are parted by |."""
    return pd.DataFrame([row.split("|") for row in rows], columns=header.split("|"))


def levels(header: str, *codes: str) -> pd.DataFrame:
    """Codes with titles."""
    return frame(header, *(f"{code}|Grupa {i} żółć" for i, code in enumerate(codes)))


ESCO_OCCUPATIONS = frame(
    "conceptType|conceptUri|iscoGroup|preferredLabel|altLabels|status|description|code",
    *(f"Occupation|{ESCO}/occupation/{i}|2166|żółć {i}|projektant {i}|released|Opis {i}|2166.{i}" for i in range(1, 9)),
)
SOC_HEADER = "Major Group|Minor Group|Broad Group|Detailed Occupation|Title"
ONET_CODES = ("11-1011.00", "11-1011.03", "29-1221.00", "29-1229.01")

#: kind -> files of a folder, the one that is damaged first; its essential columns
LAYOUTS: dict[str, tuple[dict[str, pd.DataFrame], tuple[str, ...]]] = {
    "esco": (
        {
            "occupations_pl": ESCO_OCCUPATIONS,
            "ISCOGroups_pl": frame(
                "conceptType|conceptUri|code|preferredLabel|altLabels|description",
                *(f"ISCOGroup|{ESCO}/isco/C{code}|{code}|Grupa {code}||" for code in ("2", "21", "216", "2166")),
            ),
        },
        ("code", "preferredLabel"),
    ),
    "esco groups": (
        {
            "ISCOGroups_pl": frame(
                "conceptType|conceptUri|code|preferredLabel|altLabels|description",
                *(f"ISCOGroup|{ESCO}/isco/C{code}|{code}|Grupa {code}||" for code in ("2", "21", "216", "2166")),
            ),
            "occupations_pl": ESCO_OCCUPATIONS,
        },
        ("code", "preferredLabel"),
    ),
    "soc2018": (
        {
            "soc_structure_2018": frame(
                SOC_HEADER, "11-0000||||Grupa żółć", "|11-1000|||Grupa", "||11-1010||Grupa", "|||11-1011|Zawód żółć"
            )
        },
        ("Major Group", "Detailed Occupation"),
    ),
    "soc2010": (
        {"soc_structure_2010": frame(SOC_HEADER, "15-0000||||żółć", "|15-1100|||a", "||15-1110||b", "|||15-1111|c")},
        ("Broad Group",),
    ),
    "onet": (
        {
            "Occupation Data": frame(
                "O*NET-SOC Code|Title|Description", *(f"{c}|Zawód {c} żółć|Opis." for c in ONET_CODES)
            ),
            "Alternate Titles": frame(
                "O*NET-SOC Code|Alternate Title|Short Title", *(f"{c}|Inny {c}|n/a" for c in ONET_CODES)
            ),
        },
        ("O*NET-SOC Code", "Title"),
    ),
    "onet titles": (
        {
            "Alternate Titles": frame(
                "O*NET-SOC Code|Alternate Title|Short Title", *(f"{c}|Inny {c} żółć|n/a" for c in ONET_CODES)
            ),
            "Occupation Data": frame("O*NET-SOC Code|Title|Description", *(f"{c}|Zawód {c}|Opis." for c in ONET_CODES)),
        },
        ("O*NET-SOC Code", "Alternate Title"),
    ),
    "noc2021": (
        {
            "noc_2021_structure_en": frame(
                "Level|Hierarchical structure|Code - NOC 2021 V1.0|Class title|Class definition",
                *(f"{len(code)}|x|{code}|Class {code} żółć|" for code in ("0", "00", "000", "0001", "00012", "00013")),
            )
        },
        ("Code - NOC 2021 V1.0", "Class title"),
    ),
    "rome": (
        {
            "unix_referentiel_code_rome_v460_utf8": frame(
                "code_rome|code_fiche_em|code_ogr|libelle_rome", "A1101|1|2|Conduite żółć", "A1102|1|3|Autre"
            ),
            "unix_cr_gd_dp_v460_utf8": frame(
                "code_rome|code_grand_domaine|libelle_grand_domaine|code_domaine_professionnel|libelle_domaine_professionnel",
                "A1101|A|Agriculture|A11|Engins",
                "A1102|A|Agriculture|A11|Engins",
            ),
        },
        ("code_rome", "libelle_rome"),
    ),
    "uk_soc": (
        {"soc2020structure": levels("code|title", "1", "11", "111", "1111", "1112", "2", "21", "211", "2111")},
        ("code",),
    ),
    "ssyk2012": (
        {"ssyk_struktur": levels("SSYK 2012 kod|Benämning", "1", "11", "111", "1111", "2", "21", "211", "2111")},
        ("SSYK 2012 kod",),
    ),
}


@pytest.fixture
def office(tmp_path: Path):
    """Write the files of a layout, all but the first, and say where."""

    def build(kind: str) -> Path:
        folder = tmp_path / "office"
        folder.mkdir()
        for name, table in list(LAYOUTS[kind][0].items())[1:]:
            save(table, folder / f"{name}.csv")
        return folder

    return build


@pytest.mark.parametrize("kind", LAYOUTS)
def test_whole_layouts_are_read(kind, call, office, tmp_path) -> None:
    folder = office(kind)
    name, table = next(iter(LAYOUTS[kind][0].items()))
    save(table, folder / f"{name}.csv")
    code, _, err = call("taxonomy", "import", kind.split()[0], folder, "-o", tmp_path / "tax")
    assert code == 0, err
    report = json.loads((tmp_path / "tax" / "import_report.json").read_text(encoding="utf-8"))
    assert not report["rejects"] and sum(report["nodes_per_level"]) >= 4


#: damages of cells and headers, which each reader meets in its own way; files are opened the same way for all
OF_CELLS = ("renamed", "floats", "dates", "blank_cells")


@pytest.mark.parametrize(
    ("kind", "column", "damage"),
    [
        (kind, column, damage)
        for kind, (_, columns) in LAYOUTS.items()
        for column in columns
        for damage in (DAMAGES if (kind, column) == ("esco", "code") else OF_CELLS)
    ],
)
def test_damaged_file_of_an_office(kind, column, damage, call, office, tmp_path) -> None:
    folder, out = office(kind), tmp_path / "tax"
    name, table = next(iter(LAYOUTS[kind][0].items()))
    damaged(damage, table, folder, name, column)
    code, _, err = call("taxonomy", "import", kind.split()[0], folder, "-o", out)
    assert code in (0, 2), err
    if code == 2:
        message = the_message(err)
        assert name in message or "office" in message or damage in ("blank_cells", "no_rows", "floats", "dates"), (
            message
        )
        assert not out.exists(), "half-written"
        return
    report = json.loads((out / "import_report.json").read_text(encoding="utf-8"))
    for file in report["files"]:
        assert file["rows"] == file["used"] + file["rejected"] + sum(file["skipped"].values()), file
    if damage in REFUSED:  # read without the file: it must be said that it was not there or not used
        said = json.dumps([report["missing"], report["ignored"], report["notes"]])
        assert said != "[{}, [], []]", f"was read without a word: {err}"


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> Path:
    """An imported taxonomy with texts."""
    from hjc.taxonomy.readers import import_taxonomy

    folder = tmp_path_factory.mktemp("esco")
    for name, table in LAYOUTS["esco"][0].items():
        save(table, folder / f"{name}.csv")
    import_taxonomy("esco", folder).write(folder / "tax")
    return folder / "tax"


def test_training_texts_of_a_whole_import(call, imported, tmp_path) -> None:
    code, _, err = call("data", "from-taxonomy", imported, "-o", tmp_path / "train.csv")
    assert code == 0, err
    assert {"żółć 1", "projektant 8"} <= set(pd.read_csv(tmp_path / "train.csv")["text"])


@pytest.mark.parametrize(
    ("which", "damage"), [*(("texts", damage) for damage in DAMAGES), *(("taxonomy", damage) for damage in OF_CELLS)]
)
def test_training_texts_of_a_damaged_import(which, damage, call, imported, tmp_path) -> None:
    folder, out = tmp_path / "tax", tmp_path / "out"
    shutil.copytree(imported, folder)
    out.mkdir()
    path = folder / ("taxonomy.csv" if which == "taxonomy" else "texts.csv.gz")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    path.unlink()
    damaged(damage, table, folder, which, "code")
    code, _, err = call("data", "from-taxonomy", folder, "-o", out / "train.csv")
    assert code in (0, 2), err
    if code == 2:
        the_message(err)
        assert not list(out.iterdir()), "half-written"
    else:
        assert damage not in REFUSED, f"was read: {err}"
        counts = json.loads(next(out.glob("*.json")).read_text(encoding="utf-8")) if list(out.glob("*.json")) else {}
        assert (out / "train.csv").exists(), counts
