"""Canada's NOC 2021: classification structure and elements of Statistics Canada, in English and French."""

import re

from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.registry import Source, Table, register
from hjc.taxonomy.readers.result import ImportedTaxonomy
from hjc.taxonomy.readers.sheets import Sheet, simple, tidy

_CODE = ("code", "Code - NOC 2021 V1.0", "Code - CNP 2021 V1.0", "Code - NOC 2021", "Code - CNP 2021")
_TITLE = ("Class title", "Titre de classe", "Titres de classes", "name_en", "name_fr", "title", "name")
STRUCTURE = Table("structure", r".*(structure|hierarchy).*", (_CODE, _TITLE))
ELEMENTS = Table(
    "elements",
    r".*element.*",
    (
        _CODE,
        ("Element Type Label English", "Element Type Label French", "Element Type Label"),
        ("Element Description English", "Element Description French", "Element Description"),
    ),
    "index titles, main duties and exclusions",
)
TITLES = Table("titles", r".*titles.*", (_CODE, ("lang",), ("title",)))
_LEVEL = ("level", "Niveau")
#: English and French labels of element types, without case and punctuation -> kind of text
ELEMENT_KINDS = {
    "illustrativeexamples": "example",
    "exemplesillustratifs": "example",
    "exampletitles": "example",
    "exemplesdappellations": "example",
    "inclusions": "example",
    "allexamples": "index",
    "touslesexemples": "index",
    "mainduties": "task",
    "fonctionsprincipales": "task",
    "exclusion": "exclusion",
    "exclusions": "exclusion",
    "employmentrequirements": "requirement",
    "conditionsdaccesalaprofession": "requirement",
    "additionalinformation": "note",
    "renseignementssupplementaires": "note",
}


def _french(*names: str) -> bool:
    return any(re.search(r"french|français|francais|cnp|titre|_fr$|\bfr\b", name, re.IGNORECASE) for name in names)


@register(
    "noc2021",
    "NOC 2021, Statistics Canada",
    "classification structure and elements (csv), English and French",
    tables=(STRUCTURE, ELEMENTS, TITLES),
)
def read(source: Source, collector: Collector) -> ImportedTaxonomy:
    """The structure is needed; a second one in French adds French titles."""
    structures = source.all(STRUCTURE)
    if not structures:
        raise source.lacking((STRUCTURE,), "NOC structure")
    for sheet in structures:
        _add_structure(collector, sheet)
    elements, titles = source.all(ELEMENTS), source.all(TITLES)
    if not elements and not titles:
        collector.report.missing[ELEMENTS.role] = ELEMENTS.purpose
    for sheet in elements:
        _add_elements(collector, sheet)
    for sheet in titles:
        lang, title_at = sheet.need("lang"), sheet.need("title")
        for row, code in collector.coded(sheet, "titles", _CODE, width=5):
            collector.text(sheet, row, code, "index", sheet.rows[row][lang], sheet.rows[row][title_at])
    return collector.finish()


def _add_structure(collector: Collector, sheet: Sheet) -> None:
    code_at = sheet.need(*_CODE)
    columns = {lang: sheet.find(f"name_{lang}", f"title_{lang}") for lang in ("en", "fr")}
    title_at = sheet.need(*_TITLE)
    language = "fr" if _french(sheet.header[code_at], sheet.header[title_at], sheet.path.stem) else "en"
    if columns["en"] is None and columns["fr"] is None:
        columns = {language: title_at}
    definitions = sheet.optional("Class definition", "Définitions de classe", "Définition de classe", "definition")
    expected = "not a NOC code: expected one to five digits"
    # the published file has codes without leading zeros where a spreadsheet wrote it; the level gives the length
    for row, code in collector.coded(sheet, "structure", _CODE, form=r"\d{1,5}", expected=expected, level=_LEVEL):
        titles = {lang: tidy(sheet.rows[row][at]) for lang, at in columns.items() if at is not None}
        collector.node(code, code[:-1], titles, {language: definitions[row].strip()}, sheet=sheet, row=row)


def _add_elements(collector: Collector, sheet: Sheet) -> None:
    _, type_at, text_at = (sheet.need(*names) for names in ELEMENTS.required)
    language = "fr" if _french(sheet.header[type_at], sheet.path.stem) else "en"
    for row, code in collector.coded(sheet, "elements", _CODE, width=5, level=_LEVEL):
        cells = sheet.rows[row]
        kind = ELEMENT_KINDS.get(simple(cells[type_at]))
        if kind is None:
            collector.skip(sheet, row, f"element type {tidy(cells[type_at])!r}")
            continue
        text, target = cells[text_at], ""
        if kind == "exclusion" and (match := re.search(r"\((?:[^()]*?)(\d{2,5})\b[^()]*\)\s*$", text)):
            text, target = text[: match.start()], match[1]
        collector.text(sheet, row, code, kind, language, text, target)
