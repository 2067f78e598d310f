"""Sweden's SSYK 2012: structure of Statistics Sweden or JobTech, and occupation names."""

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
        names, texts = (
            sheet.column(*_NAME),
            sheet.optional("definition", "beskrivning", "description"),
        )
        expected, level = "not an SSYK code: expected one to four digits", ("level", "nivå")
        for row, code in collector.coded(sheet, "hierarchy", _CODE, form=r"\d{1,4}", expected=expected, level=level):
            collector.node(code, code[:-1], {"sv": tidy(names[row])}, {"sv": texts[row].strip()}, sheet=sheet, row=row)
    if (found := source.find(NAMES, collector)) is not None:
        collector.texts_of(found, NAMES.role, _CODE, "alternative", "sv", NAMES.required[1], width=4)
    return collector.finish()
