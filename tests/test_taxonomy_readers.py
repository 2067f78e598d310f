# ruff: noqa: E501 (the headers of official files are long, and a split line hides what is in them)
"""Readers of official taxonomies on small files in the layouts of their offices."""

import json
from pathlib import Path

import pytest

from hjc.errors import TaxonomyError
from hjc.taxonomy import isco08
from hjc.taxonomy.readers import KINDS, ImportOptions, import_taxonomy

openpyxl = pytest.importorskip("openpyxl")


def write_xlsx(path, sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def of(imported, kind, language=None):
    return [(t.code, t.text) for t in imported.texts if t.kind == kind and language in (None, t.language)]


def assert_accounts(imported):
    """Rows in = used + rejected + skipped, in every table, and texts are those that the report counts."""
    for f in imported.report.files:
        assert f.rows == f.used + f.rejected + sum(f.skipped.values()), f
    assert sum(n for k, n in imported.report.by_kind().items() if k in KINDS) == len(imported.texts)
    assert all(t.code in imported.taxonomy.index_of and t.text for t in imported.texts)
    assert json.dumps(imported.report.as_dict())


# ---------------------------------------------------------------------------------------------- each office

ILO = [
    ["Level", "ISCO 08 Code", "Title EN", "Definition", "Tasks include", "Included occupations", "Excluded occupations", "Notes"],
    [1, 1, "Managers", "Managers plan.", None, None, None, None],
    [2, 11, "Chief executives", "", None, None, None, None],
    [3, 112, "Managing directors", "", None, None, None, None],
    [4, 1120, "Managing directors", "They run things.", "Tasks include -\n(a) planning; \n(b) directing.",
     "- Chief executive\n- Regional manager", "- Finance manager - 1211\n- Diplomat", "A note."],
    [1, 0, "Armed forces", "", None, None, None, None],
    [2, 1, "Officers", "", None, None, None, None],  # 01 and 0110 without their zeros, as a spreadsheet writes them
    [3, 11, "Officers", "", None, None, None, None],
    [4, 110, "Commissioned officers", "", None, None, None, None],
]  # fmt: skip


def test_isco08_workbook_with_lost_zeros(tmp_path):
    path = write_xlsx(tmp_path / "ISCO-08 EN Structure and definitions.xlsx", {"Info": [["About"]], "Structure": ILO})
    index = write(
        tmp_path / "isco index.csv",
        'ISCO 08,ISCO-88,Title EN\n1120,1210,"Director, managing"\n110,0110,Admiral\n999,1,X\n',
    )
    imported = import_taxonomy("isco08", [path, index])
    assert_accounts(imported)
    tree = imported.taxonomy
    assert tree.codes == ("0", "1", "01", "11", "011", "112", "0110", "1120")
    assert tree.titles["en"][tree.index_of["0110"]] == "Commissioned officers"
    assert of(imported, "task") == [("1120", "planning"), ("1120", "directing.")]
    assert of(imported, "example") == [("1120", "Chief executive"), ("1120", "Regional manager")]
    assert [(t.text, t.detail) for t in imported.texts if t.kind == "exclusion"] == [
        ("Finance manager", "1211"),
        ("Diplomat", ""),
    ]
    assert of(imported, "index") == [("1120", "Director, managing"), ("0110", "Admiral")]
    assert imported.report.repairs["leading zeros restored (the length is known)"] == 5
    [reject] = imported.report.rejects
    assert reject.code == "0999" and reject.line == 4


def test_isco08_french_titles_beside_english(tmp_path):
    write(tmp_path / "structure_en.csv", "code,title_en\n1,Managers\n11,Executives\n")
    write(tmp_path / "structure_fr.csv", "code,title_fr\n1,Directeurs\n11,Cadres\n")
    imported = import_taxonomy("isco08", tmp_path)
    assert imported.taxonomy.titles["fr"] == ("Directeurs", "Cadres") and set(imported.taxonomy.titles) == {"en", "fr"}
    assert_accounts(imported)


BASE = "http://data.europa.eu/esco/"
OCCUPATION_HEADER = "conceptType,conceptUri,iscoGroup,preferredLabel,altLabels,hiddenLabels,status,scopeNote,definition,description,code\n"


def esco_bundle(folder, language, labels):
    folder.mkdir(exist_ok=True)
    write(
        folder / f"ISCOGroups_{language}.csv",
        "conceptType,conceptUri,code,preferredLabel,status,altLabels,description\n"
        + "".join(
            f"ISCOGroup,{BASE}isco/C{c},{c.lstrip('0') or 0},{labels['g']} {c},released,,\n"
            for c in ("0", "01", "011", "0110")
        ),
    )
    note = f'Excludes <a resource=""{BASE}occupation/b"" href=""{BASE}occupation/b""><span>{labels["b"]}</span></a>.'
    write(folder / f"occupations_{language}.csv", OCCUPATION_HEADER
          + f'Occupation,{BASE}occupation/a,110,{labels["a"]},"{labels["a"]} 1\n{labels["a"]} 2",,released,"{note}",,Text A,0110.1\n'
          + f"Occupation,{BASE}occupation/b,110,{labels['b']},,hid,released,,,Text B,0110.1.1\n"
          + f"Occupation,{BASE}occupation/c,110,{labels['a']} c,,,released,,,,0110.10\n"
          + f"Occupation,{BASE}occupation/d,110,gone,,,obsolete,,,,0110.11\n")  # fmt: skip
    write(folder / f"broaderRelationsOccPillar_{language}.csv", "conceptType,conceptUri,broaderType,broaderUri\n"
          f"Occupation,{BASE}occupation/a,ISCOGroup,{BASE}isco/C0110\nOccupation,{BASE}occupation/b,Occupation,{BASE}occupation/a\n"
          f"Occupation,{BASE}occupation/c,Occupation,{BASE}occupation/a\nOccupation,{BASE}occupation/zz,Occupation,{BASE}occupation/a\n")  # fmt: skip
    return folder


def test_esco_two_languages_at_once(tmp_path):
    en = esco_bundle(tmp_path / "en", "en", {"a": "pilot", "b": "navigator", "g": "Group"})
    pl = esco_bundle(tmp_path / "pl", "pl", {"a": "żołnierz", "b": "nawigator", "g": "Grupa"})
    imported = import_taxonomy("esco", [en, pl])
    assert_accounts(imported)
    tree = imported.taxonomy
    assert tree.codes == ("0", "01", "011", "0110", "0110.1", "0110.1.1", "0110.10")
    assert tree.codes[tree.parents[tree.index_of["0110.10"]]] == "0110.1"  # the relation, not the code
    assert tree.titles["pl"][tree.index_of["0110.1"]] == "żołnierz"
    assert of(imported, "alternative", "en") == [("0110.1", "pilot 1"), ("0110.1", "pilot 2")]
    assert of(imported, "scope_note", "en") == [("0110.1", "Excludes navigator (0110.1.1).")]
    assert set(imported.report.missing) == {"skills", "occupation-skill relations"}
    assert [f.skipped["status obsolete"] for f in imported.report.files if f.role.startswith("occupations")] == [1, 1]
    both = import_taxonomy("esco", tmp_path)  # one folder that has both
    assert both.taxonomy.titles == tree.titles
    only = import_taxonomy("esco", tmp_path, ImportOptions(languages=("pl",)))
    assert list(only.taxonomy.titles) == ["pl"] and {t.language for t in only.texts} == {"pl"}
    some = import_taxonomy("esco", tmp_path, ImportOptions(languages=("pl", "xx")))
    assert any("no titles in xx; the files have en, pl" in note for note in some.report.notes)
    with pytest.raises(TaxonomyError, match="no title is in xx; the files have en, pl"):
        import_taxonomy("esco", tmp_path, ImportOptions(languages=("xx",)))


def test_a_row_in_another_language_is_not_said_to_repeat_one(tmp_path):
    write(tmp_path / "occupations.csv", "esco_code,parent,label_en\n0110.1,0110,pilot\n")
    write(
        tmp_path / "labels.csv",
        "esco_code,lang,kind,label\n0110.1,pl,p,lotnik\n0110.1,de,p,Pilot\n0110.1,de,a,Flieger\n",
    )
    imported = import_taxonomy("esco", tmp_path, ImportOptions(languages=("pl",)))
    assert_accounts(imported)
    labels = next(f for f in imported.report.files if f.role == "labels")
    assert labels.used == 1 and dict(labels.skipped) == {"language not asked for": 2}


def test_esco_skills(tmp_path):
    folder = esco_bundle(tmp_path / "en", "en", {"a": "pilot", "b": "navigator", "g": "Group"})
    write(folder / "skills_en.csv", "conceptUri,preferredLabel\nu/s1,fly\nu/s2,maps\n")
    write(folder / "skills_pl.csv", "conceptUri,preferredLabel\nu/s1,latać\n")
    write(folder / "occupationSkillRelations_en.csv", "occupationUri,relationType,skillType,skillUri\n"
          f"{BASE}occupation/a,essential,skill/competence,u/s1\n{BASE}occupation/a,optional,knowledge,u/s2\n"
          f"{BASE}occupation/a,optional,knowledge,u/s9\n")  # fmt: skip
    imported = import_taxonomy("esco", folder)
    assert_accounts(imported)
    assert [(t.kind, t.language, t.text, t.detail) for t in imported.texts if t.kind in ("skill", "knowledge")] == [
        ("skill", "en", "fly", "essential"), ("skill", "pl", "latać", "essential"), ("knowledge", "en", "maps", "optional")
    ]  # fmt: skip
    assert any("its skill" in r.reason for r in imported.report.rejects) and not imported.report.missing


def test_esco_without_groups_or_relations_uses_the_built_in_isco(tmp_path):
    write(tmp_path / "occupations_de.csv", OCCUPATION_HEADER + f"Occupation,{BASE}occupation/a,2166,Leiter,,,released,,,,2166.4.7\n"
          + f"Occupation,{BASE}occupation/b,2166,Bühne,,,released,,,,2166.4\n")  # fmt: skip
    imported = import_taxonomy("esco", tmp_path)
    assert imported.report.levels == [10, 43, 130, 436, 1, 1]
    assert imported.taxonomy.truncate(4) == isco08() and "ISCO groups" in imported.report.missing


def test_esco_versions_are_not_mixed(tmp_path):
    for language, code in (("en", "2166.{}"), ("pl", "2654.{}")):
        rows = "".join(
            f"Occupation,{BASE}occupation/{i},{code[:4]},x{i},,,released,,,,{code.format(i)}\n" for i in range(1, 9)
        )
        write(tmp_path / f"occupations_{language}.csv", OCCUPATION_HEADER + rows)
    with pytest.raises(TaxonomyError, match="different versions of ESCO"):
        import_taxonomy("esco", tmp_path)


@pytest.mark.parametrize("hierarchy", ["occupation_hierarchy.csv", "occupations_hierarchy.csv"])
def test_esco_in_tabiyas_layout(tmp_path, hierarchy):
    write(tmp_path / "occupation_groups.csv", "ORIGINURI,ID,CODE,PREFERREDLABEL,ALTLABELS,DESCRIPTION\n"
          "u/isco/C2,k1,2,Professionals,,\nu/isco/C26,k2,26,Legal,,\nu/isco/C265,k3,265,Artists,,\nu/isco/C2654,k4,2654,Directors,,\n")  # fmt: skip
    write(tmp_path / "occupations.csv", "ORIGINURI,ID,ISCOGROUPCODE,CODE,PREFERREDLABEL,ALTLABELS,DESCRIPTION,OCCUPATIONTYPE\n"
          "u/a,k5,2654,2654.1,director,head,Does.,escooccupation\n,k6,2654,2654_1_7,local director,,,localoccupation\n")  # fmt: skip
    write(
        tmp_path / hierarchy,
        "PARENTOBJECTTYPE,PARENTID,CHILDID,CHILDOBJECTTYPE\niscogroup,k4,k5,escooccupation\nescooccupation,k5,k6,localoccupation\n",
    )
    write(tmp_path / "skills.csv", "ORIGINURI,ID,PREFERREDLABEL\nu/s,k9,direct\n")
    write(
        tmp_path / "occupation_to_skill_relations.csv",
        "OCCUPATIONTYPE,OCCUPATIONID,RELATIONTYPE,SKILLID\nescooccupation,k5,essential,k9\n",
    )
    imported = import_taxonomy("esco", tmp_path)
    assert_accounts(imported)
    tree = imported.taxonomy
    assert imported.report.levels == [1, 1, 1, 1, 1, 1] and not imported.report.rejects
    assert tree.codes[tree.parents[tree.index_of["2654_1_7"]]] == "2654.1" and of(imported, "skill") == [
        ("2654.1", "direct")
    ]


def test_kzis(tmp_path):
    write(tmp_path / "kzis-hierarchy-2023.tsv", "class\tname\n1\tW\n11\tA\n111\tB\n1111\tC\n111101\tPoseł S\n")
    write(
        tmp_path / "kzis_occupation_descriptions.csv",
        "code,name,synthesis,tasks,extra_tasks\n111101,Poseł,Stanowi prawo.,stanowienie; głosowanie.,wyjazdy\n222222,X,Y,,\n",
    )
    write(tmp_path / "kzis_thesaurus_titles.csv", "code,title\n111101,Posłanka\n")
    imported = import_taxonomy("kzis", tmp_path)
    assert_accounts(imported)
    assert (
        imported.taxonomy.titles["pl"][-1] == "Poseł" and imported.taxonomy.descriptions["pl"][-1] == "Stanowi prawo."
    )
    assert [(t.text, t.detail) for t in imported.texts if t.kind == "task"] == [
        ("stanowienie", "core"), ("głosowanie", "core"), ("wyjazdy", "additional")
    ]  # fmt: skip
    assert of(imported, "alternative") == [("111101", "Posłanka")] and len(imported.report.rejects) == 1
    assert list(imported.report.missing) == ["descriptions of groups"]


SOC = [
    ["Bureau of Labor Statistics"], [], ["Major Group", "Minor Group", "Broad Group", "Detailed Occupation", None],
    ["11-0000", None, None, None, "Management Occupations"], [None, "11-1000", None, None, "Top Executives"],
    [None, None, "11-1010", None, "Chief Executives"], [None, None, None, "11-1011", "Chief Executives"],
]  # fmt: skip


def test_soc_and_onet_share_the_structure(tmp_path):
    write_xlsx(tmp_path / "soc_structure_2018.xlsx", {"Sheet1": SOC})
    write_xlsx(tmp_path / "soc_2018_definitions.xlsx", {"SOC": [["note"], ["SOC Group", "SOC Code", "SOC Title", "SOC Definition"],
               ["Detailed", "11-1011", "Chief Executives", "Determine policies."]]})  # fmt: skip
    write_xlsx(tmp_path / "soc_2018_direct_match_title_file.xlsx", {"SOC": [["2018 SOC Code", "2018 SOC Title", "2018 SOC Direct Match Title", "Illustrative Example"],
               ["11-1011", "Chief Executives", "CEO", "x"], ["11-9999", "?", "Nobody", None]]})  # fmt: skip
    imported = import_taxonomy("soc2018", tmp_path)
    assert_accounts(imported)
    assert imported.taxonomy.codes == ("11-0000", "11-1000", "11-1010", "11-1011")
    assert imported.taxonomy.titles["en"][1] == "Top Executives" and imported.taxonomy.descriptions["en"][3]
    assert of(imported, "alternative") == [("11-1011", "CEO")] and len(imported.report.rejects) == 1


def test_soc_editions_are_told_by_name_and_a_second_file_is_named(tmp_path):
    write_xlsx(tmp_path / "soc_structure_2018.xlsx", {"Sheet1": SOC})
    write_xlsx(tmp_path / "soc_structure_2018 (copy).xlsx", {"Sheet1": SOC})
    rows = [["SOC Group", "SOC Code", "SOC Title", "SOC Definition"]]
    rows += [["x", code, code, ""] for code in ("15-0000", "15-1100", "15-1110", "15-1111")]
    write_xlsx(tmp_path / "soc_2010_definitions.xlsx", {"SOC": rows})
    new, old = import_taxonomy("soc2018", tmp_path), import_taxonomy("soc2010", tmp_path)
    assert new.taxonomy.codes[0] == "11-0000" and old.taxonomy.codes == ("15-0000", "15-1100", "15-1110", "15-1111")
    assert "several files have such a name" in new.report.notes[0] and len(new.report.ignored) == 2
    assert old.report.levels == [1, 1, 1, 1]  # a minor group with four digits, as the list has it


def test_onet_text_release(tmp_path):
    header = "O*NET-SOC Code\t"
    write(
        tmp_path / "Occupation Data.txt",
        header
        + 'Title\tDescription\n11-1011.00\tChief Executives\tDetermine "policy.\n29-1221.00\tPediatricians, General\tTreat.\n',
    )
    write(
        tmp_path / "Alternate Titles.txt",
        header
        + "Alternate Title\tShort Title\tSource(s)\n11-1011.00\tCEO (Chief Executive Officer)\tCEO\t02\n11-1011.00\tAgency Owner\tn/a\t10\n",
    )
    write(
        tmp_path / "Technology Skills.txt",
        header
        + "Example\tCommodity Code\tCommodity Title\tHot Technology\n11-1011.00\tAdobe Acrobat\t4\tDocument software\tY\n",
    )
    write(
        tmp_path / "Skills.txt",
        header
        + "Element ID\tElement Name\tScale ID\tData Value\n11-1011.00\t2.A\tSpeaking\tIM\t4.25\n11-1011.00\t2.A\tSpeaking\tLV\t4.5\n11-1011.00\t2.B\tScience\tIM\tn/a\n",
    )
    imported = import_taxonomy("onet", tmp_path)
    assert_accounts(imported)
    tree = imported.taxonomy
    assert [tree.codes[i] for i in tree.node_path[tree.index_of["29-1221.00"]]] == [
        "29-0000",
        "29-1000",
        "29-1210",
        "29-1221",
        "29-1221.00",
    ]
    assert of(imported, "short") == [("11-1011.00", "CEO")] and of(imported, "skill") == [("11-1011.00", "Speaking")]
    assert {"Tools Used", "Task Statements", "Abilities", "SOC structure"} <= set(imported.report.missing)
    assert imported.taxonomy.descriptions["en"][tree.index_of["11-1011.00"]] == 'Determine "policy.'
    few = import_taxonomy("onet", tmp_path, ImportOptions(skip=("skill", "knowledge", "tool", "technology")))
    assert few.taxonomy == tree and {t.kind for t in few.texts} == {t.kind for t in imported.texts} - {
        "skill",
        "technology",
    }
    assert sorted(Path(name).name for name in few.report.ignored) == ["Skills.txt", "Technology Skills.txt"]
    assert "Task Statements" in few.report.missing and not {"Tools Used", "Knowledge"} & set(few.report.missing)


def test_noc_in_two_languages(tmp_path):
    write(tmp_path / "noc_2021_structure_en.csv", "\ufeffLevel,Hierarchical structure,Code - NOC 2021 V1.0,Class title,Class definition\n"
          "1,Broad category,0,Management,All.\n2,Major,0,Legislative,\n3,x,0,Sub,\n4,x,1,Minor,\n5,Unit,12,Legislators,Make law.\n")  # fmt: skip
    write(
        tmp_path / "noc_2021_structure_fr.csv",
        "Niveau,Structure hiérarchique,Code - CNP 2021 V1.0,Titre de classe\n1,a,0,Gestion\n",
    )
    write(tmp_path / "noc_elements.csv", "Level,Code - NOC 2021 V1.0,Class title,Element Type Label English,Element Description English\n"
          "5,12,L,Main duties,Enact laws\n5,12,L,All examples,Mayor\n5,12,L,Exclusion(s),Mayors of small towns (See 00011 Senior managers)\n5,12,L,Odd,?\n")  # fmt: skip
    imported = import_taxonomy("noc2021", tmp_path)
    assert_accounts(imported)
    assert imported.taxonomy.codes == ("0", "00", "000", "0001", "00012")
    assert imported.taxonomy.titles["fr"][0] == "Gestion" and of(imported, "task") == [("00012", "Enact laws")]
    [exclusion] = [t for t in imported.texts if t.kind == "exclusion"]
    assert (exclusion.text, exclusion.detail) == ("Mayors of small towns", "00011")


def test_rome_as_published(tmp_path):
    write(
        tmp_path / "unix_referentiel_code_rome_v460_utf8.csv",
        "code_rome,code_fiche_em,code_ogr,libelle_rome\nA1101,1,2,Conduite d'engins\n",
    )
    write(tmp_path / "unix_referentiel_appellation_v460_utf8.csv", "code_ogr,libelle_appellation_long,libelle_appellation_court,code_rome\n"
          "1,Conducteur / Conductrice d'abatteuse,Conducteur d'abatteuse,A1101\n2,X,X,Z9999\n")  # fmt: skip
    write(tmp_path / "unix_cr_gd_dp_v460_utf8.csv", "code_rome,code_grand_domaine,libelle_grand_domaine,code_domaine_professionnel,libelle_domaine_professionnel\n"
          "A1101,A,Agriculture,A11,Engins\n")  # fmt: skip
    imported = import_taxonomy("rome", tmp_path)
    assert_accounts(imported)
    assert imported.taxonomy.titles["fr"] == ("Agriculture", "Engins", "Conduite d'engins")
    assert len(of(imported, "alternative")) == len(of(imported, "short")) == 1 and len(imported.report.rejects) == 1


def test_uk_soc_structure_by_levels(tmp_path):
    rows = [["SOC2020 Major Group", "SOC2020 Sub-Major Group", "SOC2020 Minor Group", "SOC2020 Unit Group", "SOC2020 Group Title", "Tasks"],
            [1, None, None, None, "Managers", None], [1, 11, None, None, "Corporate", None], [1, 11, 111, None, "Chiefs", None],
            [1, 11, 111, 1111, "Chief executives", "plans ~directs"]]  # fmt: skip
    write_xlsx(tmp_path / "soc2020structure.xlsx", {"descriptions": rows})
    write(
        tmp_path / "coding_index.csv",
        'title,title_natural,industry,qualifier,code\n"Manager, bank",bank manager,Banking,,1111\n',
    )
    imported = import_taxonomy("uk_soc", tmp_path)
    assert_accounts(imported)
    assert imported.report.levels == [1, 1, 1, 1] and of(imported, "task") == [("1111", "plans"), ("1111", "directs")]
    assert [(t.text, t.detail) for t in imported.texts if t.kind == "index"] == [("bank manager", "Banking")]


def test_ssyk(tmp_path):
    write(tmp_path / "ssyk_struktur.csv", "SSYK 2012 kod;Benämning\n1;Chefer\n11;Politiker\n111;P\n1111;P\n")
    imported = import_taxonomy("ssyk2012", tmp_path)
    assert imported.report.levels == [1, 1, 1, 1] and list(imported.report.missing) == ["occupation names"]


def test_generic_with_a_column_map(tmp_path):
    path = write(tmp_path / "codes.csv", "Kod;Nad;Nazwa;Inne\nA;;Alfa;\nA1;A;Beta;gamma|delta\nB1;C;Epsilon;\n")
    options = ImportOptions(
        columns={"code": "Kod", "parent": "Nad", "title_pl": "nazwa", "alternative_pl": "Inne"}, name="mine"
    )
    imported = import_taxonomy("csv", path, options)
    assert_accounts(imported)
    assert imported.taxonomy.name == "mine" and imported.taxonomy.codes == ("A", "A1")
    assert of(imported, "alternative", "pl") == [("A1", "gamma"), ("A1", "delta")]
    assert imported.report.rejects[0].reason == "its parent 'C' is not in the files"
    with pytest.raises(ValueError, match="allowed are code, parent"):
        import_taxonomy("csv", path, ImportOptions(columns={"code": "Kod", "nonsense": "Nad"}))
    with pytest.raises(TaxonomyError, match="no such column"):
        import_taxonomy("csv", path, ImportOptions(columns={"code": "Kod", "title": "Nix"}))


def test_generic_with_digits_and_decimals(tmp_path):
    path = write(tmp_path / "codes.csv", "code,title\n1.0,a\n12.0,b\n1234.0,c\n")
    imported = import_taxonomy("csv", path, ImportOptions(digits=(1, 2, 4)))
    assert imported.taxonomy.codes == ("1", "12", "1234") and sum(imported.report.repairs.values()) == 3
    mixed = import_taxonomy("csv", write(tmp_path / "mixed.csv", "code,title\n1,a\n1.0,b\n"))
    assert mixed.taxonomy.codes == ("1", "1.0")  # where not all have it, ".0" is part of a code
