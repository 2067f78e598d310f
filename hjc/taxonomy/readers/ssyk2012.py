"""Sweden's SSYK 2012: structure of Statistics Sweden or JobTech, and occupation names."""

import re

from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.registry import Source, Table, register
from hjc.taxonomy.readers.result import ImportedTaxonomy
from hjc.taxonomy.readers.sheets import tidy

_CODE = ("code", "SSYK 2012", "SSYK 2012 kod", "ssyk_code_2012", "ssyk-code-2012", "kod", "Yrkeskod")
_NAME = ("name", "Benämning", "Yrkesområde", "preferred_label", "preferred-label", "SSYK 2012 benämning")
HIERARCHY = Table("hierarchy", r".*(hierarchy|struktur).*", (_CODE, _NAME))
NAMES = Table(
    "occupation names",
    r".*(occupation.?names|yrkesben|index|sökregister).*",
    (_CODE, ("title", "Yrkesbenämning", "benämning", "preferred_label")),
    "occupation names",
)


@register(
    "ssyk2012",
    "SSYK 2012, Statistics Sweden and JobTech",
    "hierarchy and occupation names (csv, xlsx)",
    tables=(HIERARCHY, NAMES),
)
def read(source: Source, collector: Collector) -> ImportedTaxonomy:
    """The hierarchy is needed."""
    sheets = source.all(HIERARCHY)
    if not sheets:
        raise source.lacking((HIERARCHY,), "SSYK hierarchy (columns code and name)")
    for sheet in sheets:
        code_at, name_at = sheet.need(*_CODE), sheet.need(*_NAME)
        texts = sheet.cells(sheet.find("definition", "beskrivning", "description"))
        levels = sheet.cells(sheet.find("level", "nivå"))
        for row in collector.open(sheet, "hierarchy"):
            level = tidy(levels[row])
            code = collector.code(
                sheet, row, sheet.rows[row][code_at], width=int(level) if level in ("1", "2", "3", "4") else 0
            )
            if code and not re.fullmatch(r"\d{1,4}", code):
                collector.reject(sheet, row, code, "not an SSYK code: expected one to four digits")
            elif code:
                titles, descriptions = {"sv": tidy(sheet.rows[row][name_at])}, {"sv": texts[row].strip()}
                collector.node(code, code[:-1], titles, descriptions, sheet=sheet, row=row)
    names = source.find(NAMES, collector)
    if names is not None:
        code_at, title_at = names.need(*_CODE), names.need(*NAMES.required[1])
        for row in collector.open(names, "occupation names"):
            code = collector.code(names, row, names.rows[row][code_at], width=4)
            collector.text(names, row, code, "alternative", "sv", names.rows[row][title_at])
    return collector.finish()
