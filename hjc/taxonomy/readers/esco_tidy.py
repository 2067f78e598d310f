"""ESCO as tidy tables: a row for each label, with its language (``esco_code,lang,kind,label``)."""

from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.isco08 import add_built_in
from hjc.taxonomy.readers.registry import Source, Table
from hjc.taxonomy.readers.result import ImportedTaxonomy

OCCUPATIONS = Table("occupations", r"occupations\.csv", (("esco_code",), ("parent",)))
LABELS = Table(
    "labels", r"labels.*\.csv", (("esco_code",), ("lang",), ("kind",), ("label",)), "labels in each language"
)
DESCRIPTIONS = Table(
    "descriptions",
    r"descriptions.*\.csv",
    (("esco_code",), ("lang",), ("description",)),
    "descriptions in each language",
)
GROUPS = Table(
    "ISCO group labels",
    r"isco08_group_labels.*\.csv",
    (("code",), ("lang",), ("label",)),
    "names of the ISCO groups; the built-in names are used",
)
WIDE = Table("occupations with labels", r"esco_v.*occupations.*\.csv", (("esco_code",), ("parent",), ("label_en",)))


def is_tidy(source: Source) -> bool:
    """Whether there are tidy tables: a labels table, or a single file in the wide layout."""
    if any(LABELS.fits(path) for path in source.files):
        return True
    wide = [path for path in source.explicit if WIDE.fits(path)]
    return bool(wide) and len(source.files) == len(wide)


def read_tidy(source: Source, collector: Collector) -> ImportedTaxonomy:
    """Tree, labels and descriptions in all languages among the files."""
    add_built_in(collector)
    labels = source.all(LABELS)
    occupations = source.find(OCCUPATIONS) if labels else None
    if occupations is None:
        if labels:
            raise source.lacking((OCCUPATIONS,), "occupations.csv (esco_code, parent) beside the labels")
        _read_wide(source, collector)
        return collector.finish()
    code_at, parents = occupations.need("esco_code"), occupations.column("parent")
    english = occupations.optional("label_en")
    for row in collector.open(occupations, "occupations"):
        code = collector.code(occupations, row, occupations.rows[row][code_at], mend=False)
        collector.node(code, parents[row].strip(), {"en": english[row]}, sheet=occupations, row=row)
    for sheet in labels:
        code_at, lang, kind, label = (sheet.need(name) for name in ("esco_code", "lang", "kind", "label"))
        for row in collector.open(sheet, "labels"):
            cells = sheet.rows[row]
            if cells[code_at] not in collector.nodes:
                collector.reject(sheet, row, cells[code_at], "its code is not in the occupations table")
            elif cells[kind] == "p":
                parent = collector.nodes[cells[code_at]].parent
                same = collector.titles.get(cells[lang], {}).get(cells[code_at]) == cells[label]
                collector.node(cells[code_at], parent, {cells[lang]: cells[label]}, sheet=sheet, row=row)
                if same:  # the occupations table has the English names already
                    collector.use(sheet, row)
            else:
                collector.text(sheet, row, cells[code_at], "alternative", cells[lang], cells[label])
    for table, name, is_title in ((DESCRIPTIONS, "description", False), (GROUPS, "label", True)):
        sheets = source.all(table)
        if not sheets:
            collector.report.missing[table.role] = table.purpose
        for sheet in sheets:
            code_at, lang, text = sheet.need("esco_code", "code"), sheet.need("lang"), sheet.need(name)
            for row in collector.open(sheet, table.role):
                cells = sheet.rows[row]
                node = collector.nodes.get(cells[code_at])
                if node is None:
                    collector.reject(sheet, row, cells[code_at], "its code is not in the tree")
                    continue
                if is_title:  # official names take the place of the built-in ones
                    collector.titles.setdefault(cells[lang], {}).pop(cells[code_at], None)
                given = {cells[lang]: cells[text]}
                titles, descriptions = (given, None) if is_title else (None, given)
                collector.node(cells[code_at], node.parent, titles, descriptions, sheet=sheet, row=row)
    return collector.finish()


def _read_wide(source: Source, collector: Collector) -> None:
    for sheet in source.all(WIDE):
        code_at, parent_at = sheet.need("esco_code"), sheet.need("parent")
        languages = [h.removeprefix("label_") for h in sheet.header if h.startswith("label_")]
        columns = {
            lang: [sheet.optional(f"{name}_{lang}") for name in ("label", "description", "alt_labels")]
            for lang in languages
        }
        for row in collector.open(sheet, "occupations with labels"):
            code = collector.code(sheet, row, sheet.rows[row][code_at], mend=False)
            titles = {lang: columns[lang][0][row] for lang in languages}
            descriptions = {lang: columns[lang][1][row] for lang in languages}
            if collector.node(code, sheet.rows[row][parent_at].strip(), titles, descriptions, sheet=sheet, row=row):
                for lang in languages:
                    for label in filter(None, columns[lang][2][row].split("|")):
                        collector.text(sheet, row, code, "alternative", lang, label)
