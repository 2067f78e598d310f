"""The O*NET database, as text release (tab-delimited .txt) or Excel files, or as tidy tables.

The database has no table of the groups above its 1,016 occupations. They come from the structure file
(``SOC_Structure.xlsx``) when it is among the files; without it the codes give the groups, which then have no names.
"""

from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.registry import Source, Table, register
from hjc.taxonomy.readers.result import ImportedTaxonomy
from hjc.taxonomy.readers.sheets import Sheet, tidy
from hjc.taxonomy.readers.soc import STRUCTURE, add_structure, parent_by_number

_CODE = ("code", "O*NET-SOC Code", "O*NET-SOC 2019 Code", "O*NET-SOC 2010 Code")
_X = r"\.(txt|xlsx|csv)"
OCCUPATIONS = Table("Occupation Data", rf"(occupation[ _]data|occupations){_X}", (_CODE, ("title",), ("description",)))
HIERARCHY = Table("hierarchy", rf".*onet_hierarchy{_X}", (_CODE, ("parent",), ("name",)))
ALTERNATE = Table("Alternate Titles", rf"alternate[ _]titles{_X}", (_CODE, ("Alternate Title",)), "alternative titles")
REPORTED = Table(
    "Sample of Reported Titles",
    rf"sample[ _]of[ _]reported[ _]titles{_X}",
    (_CODE, ("Reported Job Title",)),
    "titles that workers report",
)
TIDY_TITLES = Table("titles", rf"titles{_X}", (_CODE, ("kind",), ("title",)))
TASKS = Table("Task Statements", rf"(task[ _]statements|tasks){_X}", (_CODE, ("task",)), "tasks")
#: tables with an example and a category
TOOLS = tuple(
    Table(name, rf"{name.replace(' ', '[ _]')}{_X}", (_CODE, ("example",)), purpose, kind)
    for name, purpose, kind in (("Technology Skills", "technology", "technology"), ("Tools Used", "tools", "tool"))
)
#: tables with a rating of importance (scale IM) for each element
RATED = tuple(
    Table(name, rf"{name}{_X}", (_CODE, ("element", "Element Name"), ("importance", "Data Value")), kind=kind)
    for name, kind in (("Skills", "skill"), ("Knowledge", "knowledge"), ("Abilities", "ability"))
)


@register(
    "onet",
    "O*NET database, U.S. Department of Labor",
    "Occupation Data, Alternate Titles, Task Statements ... (txt or xlsx), SOC_Structure.xlsx",
    tables=(
        OCCUPATIONS,
        HIERARCHY,
        STRUCTURE,
        ALTERNATE,
        REPORTED,
        TIDY_TITLES,
        TASKS,
        *TOOLS,
        *RATED,
    ),
)
def read(source: Source, collector: Collector) -> ImportedTaxonomy:
    """Occupation Data is needed, every other table is optional."""
    occupations = source.find(OCCUPATIONS)
    if occupations is None:
        raise source.lacking((OCCUPATIONS,), "Occupation Data")
    hierarchy, structure = source.find(HIERARCHY), source.find(STRUCTURE)
    if hierarchy is not None:
        parent_at, name_at = hierarchy.need("parent"), hierarchy.need("name")
        for row, code in collector.coded(hierarchy, "hierarchy", _CODE):
            cells = hierarchy.rows[row]
            collector.node(code, cells[parent_at].strip(), {"en": tidy(cells[name_at])}, sheet=hierarchy, row=row)
    elif structure is not None:
        add_structure(collector, structure, depth=5)
    else:
        collector.report.missing["SOC structure"] = "names of the groups; the groups come from the codes"
    _add_occupations(collector, occupations, inferred=hierarchy is None and structure is None)
    if (titles := source.find(TIDY_TITLES)) is not None:
        kinds, names = titles.column("kind"), titles.column("title")
        for row, code in collector.coded(titles, "titles", _CODE):
            kind = "reported" if kinds[row] == "reported" else "alternative"
            collector.text(titles, row, code, kind, "en", names[row])
    else:
        _add_titles(collector, source)
    if (tasks := source.find(TASKS, collector)) is not None:
        collector.texts_of(tasks, _role(tasks), _CODE, "task", "en", ("task",), ("Task Type", "type"))
    for table in TOOLS:
        if (sheet := source.find(table, collector)) is not None:
            category = ("Commodity Title", "category")
            collector.texts_of(sheet, _role(sheet), _CODE, table.kind, "en", ("example",), category)
    for table in RATED:
        if (sheet := source.find(table)) is not None:
            _add_rated(collector, sheet, table.kind)
        elif table.kind not in source.options.skip:
            collector.report.missing[table.role] = f"ratings of {table.role.lower()}"
    return collector.finish()


def _add_occupations(collector: Collector, sheet: Sheet, *, inferred: bool) -> None:
    titles, texts = sheet.column("title"), sheet.column("description")
    expected = "not an O*NET-SOC code such as 11-1011.00"
    for row, code in collector.coded(sheet, OCCUPATIONS.role, _CODE, form=r"\d\d-\d{4}\.\d\d", expected=expected):
        if inferred:
            below = code
            while (above := parent_by_number(below)) and above not in collector.nodes:
                collector.node(above, parent_by_number(above))
                below = above
        collector.node(code, code[:7], {"en": tidy(titles[row])}, {"en": texts[row].strip()}, sheet=sheet, row=row)


def _add_titles(collector: Collector, source: Source) -> None:
    if (sheet := source.find(ALTERNATE, collector)) is not None:
        short = sheet.optional("Short Title")
        title_at = sheet.need("Alternate Title")
        for row, code in collector.coded(sheet, ALTERNATE.role, _CODE):
            collector.text(sheet, row, code, "alternative", "en", sheet.rows[row][title_at])
            if short[row] and short[row] != "n/a":
                collector.text(sheet, row, code, "short", "en", short[row])
    if (sheet := source.find(REPORTED, collector)) is not None:
        collector.texts_of(sheet, _role(sheet), _CODE, "reported", "en", ("Reported Job Title",))


def _role(sheet: Sheet) -> str:
    return sheet.name.split(".")[0]


def _add_rated(collector: Collector, sheet: Sheet, kind: str) -> None:
    name_at, value_at = sheet.need("element", "Element Name"), sheet.need("importance", "Data Value")
    scale_at = sheet.find("Scale ID")
    for row, code in collector.coded(sheet, _role(sheet), _CODE):
        cells = sheet.rows[row]
        if scale_at is not None and cells[scale_at].strip().upper() != "IM":
            collector.skip(sheet, row, f"scale {cells[scale_at].strip()} (importance IM is used)")
            continue
        try:
            value = f"{float(cells[value_at]):g}"
        except ValueError:
            collector.reject(sheet, row, code, "importance is not a number", cells[value_at])
            continue
        collector.text(sheet, row, code, kind, "en", cells[name_at], "", value)
