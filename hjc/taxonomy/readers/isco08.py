"""ISCO-08 as the ILO publishes it: structure and definitions, index of titles, and the same as plain tables."""

import re

from hjc.taxonomy.load import isco08
from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.registry import Source, Table, register
from hjc.taxonomy.readers.result import ImportedTaxonomy
from hjc.taxonomy.readers.sheets import Sheet, tidy

_CODE = ("code", "ISCO 08 Code", "ISCO-08 code", "ISCO08", "ISCO_08", "ISCO 08")
_TITLE = ("title", "Title EN", "Title FR", "Title ES", "label", "name", "Title", "Group title")
STRUCTURE = Table("structure", r"(?!.*(index|example)).*(struct|isco).*", (_CODE, _TITLE))
INDEX = Table(
    "index of titles",
    r".*index.*",
    (_CODE, (*_TITLE, "EN_Title", "Job title", "Occupational title")),
    "alternative titles of the unit groups",
)
EXAMPLES = Table(
    "example titles",
    r".*example.*",
    (("code",), ("title",), ("kind",), ("stated_in",)),
    "examples and related occupations as a table (they also stand within the definitions)",
)
#: columns of the ILO workbook that hold lists or notes -> kind of text
_PARTS = (
    ("Tasks include", "task"),
    ("Included occupations", "example"),
    ("Excluded occupations", "exclusion"),
    ("Notes", "note"),
)
_ITEM = re.compile(r"\s*(?:[-–•*]|\([a-z]{1,2}\)|\d+[.)])\s+")
_TARGET = re.compile(r"\s*[-–,(]?\s*(\d{4})\)?\s*[.;]?$")


def language_of(sheet: Sheet, column: int, default: str) -> str:
    """Language at the end of a column name (``Title FR``, ``title_fr``) or of the file name, else the default."""
    for text in (sheet.header[column], sheet.path.name.split(".")[0]):
        if match := re.search(r"(?:^|[ _-])([A-Za-z]{2})$", text):
            return match[1].lower()
    return default


def items(text: str) -> list[str]:
    """The items of a list in a cell: lines, without their bullets or letters."""
    parts = [tidy(_ITEM.sub("", " " + line, count=1)) for line in text.splitlines()]
    return [part.rstrip(";") for part in parts if part and not re.fullmatch(r"(?i)tasks include\W*", part)]


def split_target(text: str) -> tuple[str, str]:
    """ "Radiologist - 2212" -> ("Radiologist", "2212"); without a code at the end ("", "") as the second."""
    match = _TARGET.search(text)
    return (text[: match.start()].strip(" -–"), match[1]) if match else (text, "")


def add_structure(collector: Collector, sheet: Sheet, language: str) -> None:
    """Codes, titles, definitions and lists of a structure table."""
    title_at = sheet.need(*_TITLE)
    language = language_of(sheet, title_at, language)
    definitions = sheet.optional("description", "Definition", "Definition EN", "Group definition")
    parts = [(kind, sheet.optional(name)) for name, kind in _PARTS]
    expected = "not an ISCO-08 code: expected one to four digits"
    for row, code in collector.coded(sheet, "structure", _CODE, form=r"\d{1,4}", expected=expected, level=["level"]):
        titles = {language: tidy(sheet.rows[row][title_at])}
        if collector.node(code, code[:-1], titles, {language: definitions[row].strip()}, sheet=sheet, row=row):
            for kind, cells in parts:
                for item in items(cells[row]):
                    if kind == "exclusion":
                        collector.text(sheet, row, code, kind, language, *split_target(item))
                    else:
                        collector.text(sheet, row, code, kind, language, item)


@register(
    "isco08",
    "ISCO-08, International Labour Office",
    "structure and definitions (csv, xlsx), index of titles",
    tables=(STRUCTURE, INDEX, EXAMPLES),
)
def read(source: Source, collector: Collector) -> ImportedTaxonomy:
    """Without a structure file the built-in structure is used, so that an index alone can be read."""
    language = default = source.options.language or "en"
    examples, index = source.find(EXAMPLES, collector), None
    if any(INDEX.fits(path) for path in source.files):
        index = source.find(INDEX)
    structures = source.all(STRUCTURE)
    if index is None:
        index = source.find(INDEX, collector)
    for sheet in structures:
        add_structure(collector, sheet, language)
    if not structures:
        if index is None and examples is None:
            raise source.lacking((STRUCTURE,), "ISCO-08 structure or index")
        collector.report.missing["structure"] = "the built-in structure and its titles are used"
        add_built_in(collector)
    if index is not None:
        names = (*_TITLE, "EN_Title", "Job title", "Occupational title")
        language = language_of(index, index.need(*names), language)
        collector.texts_of(index, "index of titles", _CODE, "index", language, names, width=4)
    if examples is not None:
        title, kind, stated = (examples.need(name) for name in ("title", "kind", "stated_in"))
        for row, own in collector.coded(examples, "example titles", ("code",), width=4):
            cells = examples.rows[row]
            if cells[kind] == "example_here":
                collector.text(examples, row, own, "example", default, cells[title])
            else:  # the code is where the occupation belongs, not where it was mentioned
                where = collector.code(examples, row, cells[stated])
                collector.text(examples, row, where, "exclusion", default, cells[title], own)
    return collector.finish()


def add_built_in(collector: Collector) -> None:
    """The built-in ISCO-08 groups with their titles in six languages."""
    tree = isco08()
    for node, code in enumerate(tree.codes):
        collector.node(code, code[:-1], {language: texts[node] for language, texts in tree.titles.items()})
