"""The U.S. SOC, 2018 and 2010: structure, definitions and direct-match titles of the Bureau of Labor Statistics."""

import re
from collections.abc import Container

from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.registry import Source, Table, register
from hjc.taxonomy.readers.result import ImportedTaxonomy
from hjc.taxonomy.readers.sheets import Sheet, tidy

_CODE = ("code", "SOC Code", "2018 SOC Code", "2010 SOC Code")
_BROAD = ("Broad Group", "Broad Occupation")
_LEVELS = (("Major Group",), ("Minor Group",), _BROAD, ("Detailed Occupation",))
_NAME, _TEXT = ("name", "SOC Title", "title"), ("definition", "SOC Definition")
_TITLE = ("title", "2018 SOC Direct Match Title", "2010 SOC Direct Match Title", "Direct Match Title")


def _tables(year: str) -> tuple[Table, Table, Table]:
    """Structure, definitions and titles of an edition: of 2010 when the file name says so, else of 2018."""
    of = r"(?=.*2010)" if year == "2010" else r"(?!.*2010)"
    return (
        Table("structure", of + r".*structure(?!_def).*", _LEVELS),
        Table("definitions", of + r".*definitions.*", (_CODE, _NAME, _TEXT), "definitions"),
        Table("direct-match titles", of + r".*direct.*match.*", (_CODE, _TITLE), "direct-match titles"),
    )


TABLES = {year: _tables(year) for year in ("2018", "2010")}
STRUCTURE = TABLES["2018"][0]
_SOC = r"\d\d-\d{4}(\.\d\d)?"
_NO_SOC = "not a SOC code such as 11-1011"
#: minor groups with four significant digits, which the numbers alone do not show
MINOR_WITH_FOUR = ("15-1200", "31-1100", "51-5100")
#: detailed occupations whose broad group has another number
BROAD_OF = {code: "29-1210" for code in ("29-1221", "29-1222", "29-1223", "29-1224", "29-1229")}


def parent_by_number(code: str) -> str:
    """The parent of a code of SOC 2018 or O*NET-SOC 2019 by its digits and the three known irregularities.

    11-1011.00 -> 11-1011 -> 11-1010 -> 11-1000 -> 11-0000 -> "".
    """
    if "." in code:
        return code[:7]
    if not code.endswith("0"):
        return BROAD_OF.get(code, code[:6] + "0")
    if code.endswith("0000"):
        return ""
    if code in MINOR_WITH_FOUR or code.endswith("000"):
        return code[:3] + "0000"
    four = code[:5] + "00"
    return four if four in MINOR_WITH_FOUR else code[:4] + "000"


def _parent_listed(code: str, listed: Container[str]) -> str:
    """The parent by number, or the minor group with four digits where the list has it (SOC 2010 has other ones)."""
    four = code[:5] + "00"
    if code.endswith("0") and four != code and not code.endswith("000") and four in listed:
        return four
    parent = parent_by_number(code)
    return code[:3] + "0000" if parent and code == four and parent not in listed else parent


def add_structure(collector: Collector, sheet: Sheet, *, depth: int) -> None:
    """A structure with a column for each level, each row filled in one of them; a row's parent stands above it."""
    columns = [sheet.need(*names) for names in _LEVELS]
    onet = sheet.find("Detailed O*NET-SOC")
    columns += [onet] if onet is not None else []
    title_at = sheet.find("title", "SOC or O*NET-SOC 2019 Title", "SOC Title")
    if title_at is None:  # the title column of the bureau's files has no name
        title_at = max(columns) + 1
    path: list[str] = []
    for row in collector.open(sheet, "structure"):
        cells = sheet.rows[row]
        filled = [level for level, column in enumerate(columns) if cells[column].strip()]
        if len(filled) != 1:
            collector.reject(sheet, row, "", f"a code in {len(filled)} of the level columns, expected one")
            continue
        level = filled[0]
        code = collector.code(sheet, row, cells[columns[level]])
        if code and not re.fullmatch(_SOC, code):
            collector.reject(sheet, row, code, _NO_SOC)
            continue
        path[level:] = [code]
        if level >= depth:
            collector.skip(sheet, row, "below the levels of SOC")
        else:
            above = path[level - 1] if level and len(path) == level + 1 else parent_by_number(code)
            title = tidy(cells[title_at]) if title_at < len(cells) else ""
            collector.node(code, above if level else "", {"en": title}, sheet=sheet, row=row)


def add_definitions(collector: Collector, sheet: Sheet) -> None:
    """A row for each code with its definition; parents from a parent column, else by number."""
    name_at, text_at = sheet.need(*_NAME), sheet.need(*_TEXT)
    parent_at = sheet.find("parent")
    listed = {*collector.nodes, *map(tidy, sheet.column(*_CODE))}
    for row, code in collector.coded(sheet, "definitions", _CODE, form=_SOC, expected=_NO_SOC):
        cells = sheet.rows[row]
        parent = cells[parent_at].strip() if parent_at is not None else _parent_listed(code, listed)
        if code in collector.nodes:
            parent = collector.nodes[code].parent
        collector.node(code, parent, {"en": tidy(cells[name_at])}, {"en": cells[text_at].strip()}, sheet=sheet, row=row)


def _read(source: Source, collector: Collector, year: str) -> ImportedTaxonomy:
    tables = TABLES[year]
    structure, definitions = source.find(tables[0]), source.find(tables[1], collector)
    if structure is None and definitions is None:
        raise source.lacking(tables, f"SOC {year} structure or definitions")
    if structure is not None:
        add_structure(collector, structure, depth=4)
    if definitions is not None:
        add_definitions(collector, definitions)
    titles = source.find(tables[2], collector)
    if titles is not None:
        names, marks = titles.column(*_TITLE), titles.optional("illustrative", "Illustrative Example")
        for row, code in collector.coded(titles, "direct-match titles", _CODE):
            detail = "illustrative" if marks[row].strip().lower() in ("1", "x", "y", "yes") else ""
            collector.text(titles, row, code, "alternative", "en", names[row], detail)
    return collector.finish()


@register(
    "soc2018",
    "SOC 2018, U.S. Bureau of Labor Statistics",
    "structure (xlsx), definitions, direct-match titles",
    tables=(*TABLES["2018"], *TABLES["2010"]),
)
def read_2018(source: Source, collector: Collector) -> ImportedTaxonomy:
    """Also from the structure file of O*NET-SOC 2019, whose fifth level is left out."""
    return _read(source, collector, "2018")


@register(
    "soc2010",
    "SOC 2010, U.S. Bureau of Labor Statistics",
    "structure (xls), definitions, direct-match titles",
    tables=(*TABLES["2010"], *TABLES["2018"]),
)
def read_2010(source: Source, collector: Collector) -> ImportedTaxonomy:
    """The same layouts as SOC 2018."""
    return _read(source, collector, "2010")
