"""The UK's SOC (2010 and 2020) of the Office for National Statistics: structure and coding index.

An entry of the index goes to different codes depending on industry and further words, so these are kept as its detail.
"""

import re

from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.registry import Source, Table, register
from hjc.taxonomy.readers.result import ImportedTaxonomy
from hjc.taxonomy.readers.sheets import Sheet, tidy

_CODE = ("code", "SOC 2020", "SOC2020", "SOC 2010", "SOC2010", "SOC2020 Unit Group", "SOC2010 Unit Group")
_NAME = ("name", "Group Title", "SOC2020 Group Title", "title")
_NATURAL = ("INDEXOCC - natural word order", "INDEXOCC-natural word order")
_LEVELS = ("Major Group", "Sub-Major Group", "Minor Group", "Unit Group")
STRUCTURE = Table(
    "structure",
    r"(?!.*index).*structure.*",
    (("code", "Unit Group", "SOC2020 Unit Group", "SOC2010 Unit Group"), _NAME),
)
INDEX = Table(
    "coding index",
    r".*index.*",
    (_CODE, ("title", *_NATURAL, "INDEXOCC", "Indexing word order")),
    "index titles",
)


@register(
    "uk_soc",
    "SOC 2010 and SOC 2020, UK Office for National Statistics",
    "structure (csv, xls, xlsx), coding index",
    tables=(STRUCTURE, INDEX),
)
def read(source: Source, collector: Collector) -> ImportedTaxonomy:
    """Without a structure the groups come from the codes of the index and have no names."""
    structure, index = source.find(STRUCTURE), source.find(INDEX, collector)
    if structure is None and index is None:
        raise source.lacking((STRUCTURE, INDEX), "UK SOC structure or coding index")
    if structure is not None:
        _add_structure(collector, structure)
    else:
        collector.report.missing["structure"] = "names of the groups; the groups come from the codes of the index"
    if index is not None:
        title_at = index.need(*INDEX.required[1])
        natural = index.optional("title_natural", *_NATURAL)
        industry = index.optional("industry", "IND")
        more = index.optional("qualifier", "ADD")
        for row, code in collector.coded(index, "coding index", _CODE):
            if structure is None and re.fullmatch(r"\d{4}", code):
                for n in range(1, 5):
                    collector.node(code[:n], code[: n - 1])
            detail = "; ".join(part for part in (tidy(more[row]), tidy(industry[row])) if part)
            collector.text(index, row, code, "index", "en", natural[row] or index.rows[row][title_at], detail)
    return collector.finish()


def _add_structure(collector: Collector, sheet: Sheet) -> None:
    levels = [sheet.optional(name, f"SOC2020 {name}", f"SOC2010 {name}") for name in _LEVELS]
    code_at, name_at = sheet.find("code"), sheet.need(*_NAME)
    descriptions = sheet.optional("Group Description", "SOC2020 Group Description", "description")
    parts = [("task", sheet.optional("Tasks")), ("example", sheet.optional("Related Job Titles"))]
    for row in collector.open(sheet, "structure"):
        cells = sheet.rows[row]
        filled = [level[row] for level in levels if level[row].strip()]
        value = cells[code_at] if code_at is not None else filled[-1] if filled else ""
        code = collector.code(sheet, row, value)
        if not code:
            continue
        if not re.fullmatch(r"\d{1,4}", code):
            collector.reject(sheet, row, code, "not a UK SOC code: expected one to four digits")
        elif collector.node(
            code, code[:-1], {"en": tidy(cells[name_at])}, {"en": descriptions[row].strip()}, sheet=sheet, row=row
        ):
            for kind, values in parts:
                for item in re.split(r"[\n~;]", values[row]):
                    if tidy(item):
                        collector.text(sheet, row, code, kind, "en", tidy(item).lstrip("•- "))
