"""Files: what is written is read again exactly, and what users have is understood."""

import gzip
from importlib.resources import files

import pytest
from hypothesis import given

from hjc import TaxonomyError
from hjc.taxonomy import (
    check_taxonomy_file,
    describe,
    from_edges,
    isco08,
    load_taxonomy,
    read_taxonomy_csv,
    write_taxonomy_csv,
)
from hjc.taxonomy.readers import import_taxonomy

from .strategies import taxonomies

TEXT = (
    'code,parent,level,title_en,description_pl\n1,,1,One,jeden\n11,1,2,"Eleven, or so",\n12,1,2,Twelve,"dwa\nlinie"\n'
)


@pytest.fixture
def file(tmp_path):
    def write(content: str | bytes, name: str = "tree.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("round-trip")


@given(taxonomies(titles=True))
def test_round_trip_is_exact(folder, tree):
    for name in ("t.csv", "t.tsv", "t.csv.gz", "t.tsv.gz"):
        write_taxonomy_csv(tree, folder / name)
        again = read_taxonomy_csv(folder / name, name=tree.name)
        assert again == tree and again.hash == tree.hash and again.name == tree.name
        assert again.titles == tree.titles and again.descriptions == tree.descriptions
        assert list(again.titles) == list(tree.titles)


def test_equal_trees_give_equal_bytes(tmp_path):
    for name in ("a.csv", "a.csv.gz"):
        write_taxonomy_csv(isco08(), tmp_path / name)
        first = (tmp_path / name).read_bytes()
        write_taxonomy_csv(read_taxonomy_csv(tmp_path / name), tmp_path / f"b-{name}")
        assert (tmp_path / f"b-{name}").read_bytes() == first
    assert first[4:8] == bytes(4)  # no time in the gzip header


def test_reads_texts_and_name(file):
    tree = read_taxonomy_csv(file(TEXT, "my.tree.csv"))
    assert tree.name == "my" and tree.codes == ("1", "11", "12")
    assert tree.titles == {"en": ("One", "Eleven, or so", "Twelve")}
    assert tree.descriptions == {"pl": ("jeden", "", "dwa\nlinie")}
    assert read_taxonomy_csv(file(TEXT), name="x").name == "x"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_separators_encodings_and_line_ends(file, separator, encoding, newline):
    lines = ["code,parent,label_pl", "0,,Siły zbrojne", "01,0,Oficerowie"]
    text = newline.join(line.replace(",", separator) for line in lines) + newline
    tree = read_taxonomy_csv(file(text.encode(encoding)))
    assert tree.codes == ("0", "01") and tree.titles == {"pl": ("Siły zbrojne", "Oficerowie")}


def test_other_columns_rows_in_any_order_and_blank_lines(file):
    text = "uri;name;class;parent;definition\n\nu1;Eleven;11; 1 ;d\nu2;One;1;;\n\n"
    tree = read_taxonomy_csv(file(text))
    assert tree.codes == ("1", "11")
    assert tree.titles == {"und": ("One", "Eleven")} and tree.descriptions == {"und": ("", "d")}
    named = file("broader,notation\n,a\na,b\n", "n.csv")
    assert read_taxonomy_csv(named, code="notation", parent="broader").codes == ("a", "b")


def test_hierarchy_of_the_reference_tool(file):
    rows = ["1", "11", "111", "1111", "111101", "2", "22", "221", "2211", "221101"]
    text = "class\tname\n" + "".join(f"{c}\tname of {c}\n" for c in rows)
    tree = read_taxonomy_csv(file(text, "kzis.tsv"))
    assert tree.depth == 5 and tree.leaf_codes == ("111101", "221101") and tree.title(0) == "name of 1"
    assert read_taxonomy_csv(file(text), digits=[1, 2, 3, 4, 6]) == tree == load_taxonomy(file(text), [1, 2, 3, 4, 6])
    uneven = read_taxonomy_csv(file("class,name\n1,a\n2,b\n1111,c\n", "u.csv"))
    assert uneven.depth == 2 and uneven.leaf_codes == ("1111", "2")
    with pytest.raises(TaxonomyError, match=r"u\.csv.*inner codes missing.*'11'"):
        load_taxonomy(file("class,name\n1,a\n2,b\n111,c\n", "u.csv"), digits=[1, 2, 3])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", r"no column 'code', the file has \['a', 'b'\]"),
        ("code,parent\n1,,2\n", "line 2: 3 cells instead of 2"),
        ("code,code\n1,1\n", "stands twice"),
        ("code,name,title\n1,a,b\n", "two columns of titles in language 'und'"),
        ('code,parent,name\n1,,"a\n', "never closed"),
        ("code,parent\n", "at least one code"),
        ("code,parent\n1,\n1,\n", r"tree\.csv: .*duplicate codes: '1'"),
        ("code,name\n1,ż".encode("cp1250"), "is not utf-8"),
    ],
)
def test_files_that_are_no_tree(file, content, message):
    with pytest.raises(TaxonomyError, match=message):
        read_taxonomy_csv(file(content))


def test_other_ways_to_fail(file, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_taxonomy_csv(tmp_path / "none.csv")
    with pytest.raises(TaxonomyError, match="is the file complete"):
        read_taxonomy_csv(file(gzip.compress(TEXT.encode())[:-9], "t.csv.gz"))
    with pytest.raises(TaxonomyError, match="no column 'above'"):
        read_taxonomy_csv(file(TEXT), parent="above")
    assert read_taxonomy_csv(file("code,name\n1,ż".encode("cp1250")), encoding="cp1250").title(0) == "ż"
    with pytest.raises(FileNotFoundError, match="'isco88', allowed are 'isco08' and the path"):
        load_taxonomy("isco88")


# ---------------------------------------------------------------------- built in


def test_isco08():
    tree = isco08()
    assert load_taxonomy("isco08") is tree and tree.name == "isco08"
    assert [len(tree.level_nodes(d)) for d in range(1, 5)] == [10, 43, 130, 436] and len(tree) == 619
    assert tuple(tree.titles) == ("en", "pl", "de", "fr", "es", "uk")
    assert all(text.strip() for texts in tree.titles.values() for text in texts)
    assert all(p < 0 or c[:-1] == tree.codes[p] for c, p in zip(tree.codes, tree.parents.tolist(), strict=True))
    assert tree.title(tree.index_of["2512"]) == "Software developers"
    assert tree.hash == "ffbe7adca8ed3ee9316d2faf16eadb52eaaa92b41f903680e9c52f77326246d1"


def test_isco08_file_is_reproducible(tmp_path):
    write_taxonomy_csv(isco08(), tmp_path / "isco08.csv.gz")
    packed = (files("hjc.taxonomy") / "isco08.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "isco08.csv.gz").read_bytes()) == gzip.decompress(packed)


# ---------------------------------------------------------------------- describe and check


@given(taxonomies(titles=True))
def test_describe_counts(tree):
    got = describe(tree)
    children: dict[str, int] = {}
    for p in tree.parents.tolist():
        children[tree.codes[p] if p >= 0 else ""] = children.get(tree.codes[p] if p >= 0 else "", 0) + 1
    assert (got.nodes, got.leaves, got.depth, got.groups) == (len(tree), tree.num_leaves, tree.depth, len(children))
    assert got.single_children == sum(n == 1 for n in children.values()) == got.group_sizes.get(1, 0)
    assert sum(size * n for size, n in got.group_sizes.items()) == len(tree)
    assert [n for _, n in got.largest_groups] == sorted(children.values(), reverse=True)[:5]
    assert all(children[code] == n for code, n in got.largest_groups)
    assert sum(x.nodes for x in got.levels) == len(tree) and sum(x.leaves for x in got.levels) == tree.num_leaves
    assert [x.columns for x in got.levels] == [len(tree.level_codes(d + 1)) for d in range(tree.depth)]
    assert got.leaf_depths == {x.level: x.leaves for x in got.levels if x.leaves}
    assert got.ragged == (len(got.leaf_depths) > 1)
    assert got.titles == {k: sum(t != "" for t in v) for k, v in tree.titles.items()}
    assert got.as_dict()["levels"][0]["level"] == 1 and got.hash == tree.hash


def test_a_good_file_has_no_problems(file, tmp_path):
    write_taxonomy_csv(isco08(), tmp_path / "isco.csv")
    problems = check_taxonomy_file(tmp_path / "isco.csv")
    assert [str(p) for p in problems if p.severity != "warning"] == []
    assert {p.kind for p in problems} <= {"twins"}


def test_all_problems_of_a_bad_file_at_once(file):
    path = file("code,parent\n01,\n011,1\n011,01\n,01\nx,x\ny,z\nz,y\n q,01\n")
    problems = check_taxonomy_file(path)
    text = "\n".join(map(str, problems))
    for part in (
        "error: rows without a code: 'line 5'",
        "error: duplicate codes: '011 (lines 3, 4)'",
        "error: codes that are their own parent: 'x'",
        "error: codes whose parent is not in the list: '011 (parent 1)'",
        "(a cycle): 'y', 'z'",
        "error: parents that have lost leading zeros (write the file with codes as text): '1 (of 011) looks like 01'",
        "warning: codes with surrounding blanks or invisible characters (taken off): ' q'",
    ):
        assert part in text
    assert [p.severity for p in problems] == sorted(p.severity for p in problems)


def test_warnings_of_a_tree(file):
    rows = [f"1{i},1,2,t{i}" for i in range(10)] + ["110,12,3,x", "111,11,7,T", "112,11,3,t", "113,11,,"]
    problems = check_taxonomy_file(file("code,parent,level,name\n1,,1,a\n" + "\n".join(rows)))
    assert {p.kind: p.codes for p in problems} == {
        "level": ("111 (file 7, tree 3)", "113 (file none, tree 3)"),
        "prefix": ("110 (parent 12)",),
        "titles": ("113",),
        "twins": ("111 = 112",),
    }
    gaps = check_taxonomy_file(file("class\n1\n2\n21\n111\n112\n22\n2222\n"))
    assert {p.kind: p.codes for p in gaps} == {"titles": ()}
    gaps = check_taxonomy_file(file("class,name,uri\n1,a,u\n11,b,u\n121,c,u\n"))
    assert {p.kind: p.codes for p in gaps} == {"gap": ("121",), "ignored": ("uri",)}


def test_check_reports_what_cannot_be_read(file, tmp_path):
    assert [p.kind for p in check_taxonomy_file(file("a,b\n1,2\n"))] == ["unreadable"]
    assert [p.kind for p in check_taxonomy_file(file("code,parent\n"))] == ["empty"]
    found = check_taxonomy_file(file("code\n1\n1111\n"), digits=[1, 2, 3])
    assert [p.kind for p in found] == ["prefix"] and "fits no level" in found[0].text
    found = check_taxonomy_file(file("code\n1\n111\n"), digits=[1, 2, 3])
    assert [p.kind for p in found] == ["prefix"] and "missing from the list: '11'" in found[0].text
    with pytest.raises(FileNotFoundError):
        check_taxonomy_file(tmp_path / "none.csv")


@given(taxonomies(titles=True))
def test_check_finds_no_error_in_what_was_written(folder, tree):
    write_taxonomy_csv(tree, folder / "c.csv")
    assert [p for p in check_taxonomy_file(folder / "c.csv") if p.severity == "error"] == []


def test_same_language_in_name_and_label(file):
    with pytest.raises(TaxonomyError, match="language 'en'"):
        read_taxonomy_csv(file("code,name_en,label_en\n1,a,b\n"))
    assert from_edges(["1"], [""]).titles == {}


def test_codes_are_cut_at_separators(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text("code,title_en\n7,a\n72,b\n722,c\n7223,d\n" + "".join(f"7223.{i},t{i}\n" for i in (1, 2, 10, 21)))
    tree = load_taxonomy(path)
    assert {tree.codes[tree.parents[tree.index_of[f"7223.{i}"]]] for i in (1, 2, 10, 21)} == {"7223"}
    (note,) = check_taxonomy_file(path)
    assert note.severity == "note" and note.codes == (
        "7223.10 (parent 7223, not 7223.1)",
        "7223.21 (parent 7223, not 7223.2)",
    )
    path.write_text("code\nA\nA/1\nA/1/1\nA/11\nB-1\nB-1 2\nB-12\n")
    tree = load_taxonomy(path)
    parents = {c: tree.codes[p] if p >= 0 else "" for c, p in zip(tree.codes, tree.parents, strict=True)}
    assert parents == {"A": "", "A/1": "A", "A/1/1": "A/1", "A/11": "A", "B-1": "", "B-1 2": "B-1", "B-12": ""}


def test_one_code_with_two_titles_names_both_lines_and_the_likely_code(tmp_path):
    path = tmp_path / "codes.csv"
    codes = ["932907,helper", "932908,mechanic's mate", "962907,warden", "932908,park worker", "962909,other"]
    path.write_text("code,title_en\n" + "\n".join(codes) + "\n")
    (problem,) = check_taxonomy_file(path)
    assert problem.kind == "duplicate"
    assert problem.codes == (
        "932908 (lines 3 \"mechanic's mate\"; 5 'park worker', behind 962907: may be 962908)",
    )  # fmt: skip
    with pytest.raises(TaxonomyError, match="duplicate codes: '932908'"):
        read_taxonomy_csv(path)
    found = import_taxonomy("csv", path)
    (reject,) = found.report.rejects
    assert reject.line == 5 and reject.reason == (
        "the code stands twice with different titles (\"mechanic's mate\", 'park worker'), first in line 3; "
        "behind 962907 it may be 962908"
    )
    assert found.taxonomy.title(found.taxonomy.index_of["932908"]) == "mechanic's mate"


def test_invisible_characters_are_taken_off_and_said(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text("code,parent,title_en\n\u200b02,,group\n021,02,unit\n0\ufeff22,02,other\n", encoding="utf-8")
    assert load_taxonomy(path).codes == ("02", "021", "022")
    assert [p.kind for p in check_taxonomy_file(path)] == ["blanks"]
    assert import_taxonomy("csv", path).taxonomy.codes == ("02", "021", "022")
