"""KZiS, the Polish classification: hierarchy (TSV ``class,name`` or CSV), descriptions, thesaurus of titles."""

import re

from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.registry import Source, Table, register
from hjc.taxonomy.readers.result import ImportedTaxonomy
from hjc.taxonomy.readers.sheets import Sheet, tidy

_CODE = ("code", "class", "Symbol cyfrowy zawodu", "kod", "symbol")
_NAME = ("name", "Nazwa zawodu/specjalności", "nazwa", "title")
HIERARCHY = Table("hierarchy", r".*hierarchy.*|.*struktura.*", (_CODE, _NAME))
DESCRIPTIONS = Table(
    "descriptions of occupations",
    r".*occupation.*desc.*|.*opis.*",
    (_CODE, ("synthesis", "synteza"), ("tasks", "zadania")),
    "syntheses and tasks of occupations",
)
GROUPS = Table(
    "descriptions of groups",
    r".*group.*desc.*|.*desc-level.*",
    (_CODE, ("synthesis", "synteza")),
    "syntheses and tasks of groups",
)
THESAURUS = Table(
    "thesaurus",
    r".*thesaurus.*|.*tezaurus.*|.*titles.*",
    (_CODE, ("title", "stanowisko", "nazwa")),
    "further job titles",
)
#: a trailing S marks occupations that are taught at school
_LETTER = re.compile(r"\s+S$")


def parent_of(code: str) -> str:
    """1, 2, 3, 4 and 6 digits: the parent of a six-digit code has four."""
    return code[:4] if len(code) == 6 else code[:-1]


def split_tasks(text: str) -> list[str]:
    """Tasks stand in one cell, separated by semicolons or written as lines with dashes."""
    parts = re.split(r";|\n|,(?=- )", text)
    return [part for raw in parts if (part := tidy(raw).lstrip("-–• ").rstrip(" .;,"))]


@register(
    "kzis",
    "KZiS, Polish Ministry of Labour",
    "hierarchy (tsv, csv), descriptions of occupations and groups, GUS thesaurus",
    tables=(HIERARCHY, DESCRIPTIONS, GROUPS, THESAURUS),
)
def read(source: Source, collector: Collector) -> ImportedTaxonomy:
    """The hierarchy is needed, the rest is optional. The key of codes 2014-2022 is a crosswalk, not read here."""
    hierarchies = source.all(HIERARCHY)
    if not hierarchies:
        raise source.lacking((HIERARCHY,), "KZiS hierarchy (columns code or class, and name)")
    for sheet in hierarchies:
        name_at = sheet.need(*_NAME)
        expected = "not a KZiS code: expected 1 to 4 or 6 digits"
        for row, code in collector.coded(sheet, "hierarchy", _CODE, form=r"\d{1,4}|\d{6}", expected=expected):
            name = _LETTER.sub("", tidy(sheet.rows[row][name_at]))
            collector.node(code, parent_of(code), {"pl": name}, sheet=sheet, row=row)
    descriptions, groups = source.all(DESCRIPTIONS), source.all(GROUPS)
    for table, sheets in ((DESCRIPTIONS, descriptions), (GROUPS, groups)):
        if not sheets:
            collector.report.missing[table.role] = table.purpose
        for sheet in sheets:
            _add_descriptions(collector, sheet, table.role)
    thesaurus = source.find(THESAURUS, collector)
    if thesaurus is not None:
        names = THESAURUS.required[1]
        collector.texts_of(thesaurus, THESAURUS.role, _CODE, "alternative", "pl", names, width=6)
    return collector.finish()


def _add_descriptions(collector: Collector, sheet: Sheet, role: str) -> None:
    synthesis_at = sheet.need("synthesis", "synteza")
    tasks = [
        ("core", sheet.optional("tasks", "zadania")),
        ("additional", sheet.optional("extra_tasks", "dodatkowe zadania")),
    ]
    for row, code in collector.coded(sheet, role, _CODE):
        node = collector.nodes.get(code)
        if node is None:
            collector.reject(sheet, row, code, "its code is not in the hierarchy")
            continue
        text = sheet.rows[row][synthesis_at].strip()
        if text:
            collector.node(code, node.parent, None, {"pl": text}, sheet=sheet, row=row)
        elif not any(cells[row].strip() for _, cells in tasks):
            collector.skip(sheet, row, "no text")
        for detail, cells in tasks:
            for task in split_tasks(cells[row]):
                collector.text(sheet, row, code, "task", "pl", task, detail)
