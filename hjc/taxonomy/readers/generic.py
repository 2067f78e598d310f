"""Any table of codes, with a map of its columns.

The map says which column of the file is what: ``code``, ``parent``, ``title``, ``title_xx``, ``description_xx``, and
one of the kinds of text with or without a language (``alternative``, ``alternative_pl``, ``task`` ...). Columns that
already have these names need no entry. Cells with several texts are split at line ends and "|".
"""

import re

from hjc.errors import TaxonomyError, name_some
from hjc.taxonomy.build import longest_prefix_parents
from hjc.taxonomy.readers.collect import Collector
from hjc.taxonomy.readers.registry import Source, Table, register
from hjc.taxonomy.readers.result import KINDS, ImportedTaxonomy
from hjc.taxonomy.readers.sheets import Sheet, simple, tidy
from hjc.taxonomy.spelling import trim, whole_number

CODES = Table("codes", r".*", (("code", "class"),))
_TITLES = ("title", "name", "label")
_TEXTS = ("description", "definition")
_FIELD = re.compile(rf"({'|'.join((*_TITLES, 'description', *KINDS))})(?:_([a-z]{{2,3}}))?")


def _columns(sheet: Sheet, default: str) -> list[tuple[int, str, str]]:
    """(column, what, language) of every column that has a meaning, mapped ones first."""
    out = []
    mapped = {simple(actual): logical for logical, actual in sheet.columns.items()}
    for number, name in enumerate(sheet.header):
        logical = mapped.get(simple(name), name.strip().lower())
        if match := _FIELD.fullmatch(logical):
            what = "title" if match[1] in _TITLES else "description" if match[1] in _TEXTS else match[1]
            out.append((number, what, match[2] or default))
    return out


@register(
    "csv",
    "any table of codes, with --column code=NAME --column parent=NAME --column title_en=NAME ...",
    "csv, tsv, xlsx or parquet",
)
def read(source: Source, collector: Collector) -> ImportedTaxonomy:
    """Parents from a parent column, else from ``digits``, else the longest code that is a prefix."""
    default = source.options.language or "und"
    tables = [source.read(path, CODES) for path in source.files]
    for logical in source.options.columns:
        if logical not in ("code", "parent") and not _FIELD.fullmatch(logical):
            raise ValueError(
                f"column map: got {logical!r}, allowed are code, parent, title, description or {', '.join(KINDS)}, "
                "with _xx for a language"
            )
        if all(sheet.find(logical) is None for sheet in tables):
            raise TaxonomyError(
                f"{logical}={source.options.columns[logical]}: no such column in {name_some(s.name for s in tables)}; "
                f"columns are {name_some(tables[0].header, 20)}"
            )
    codes = [[tidy(trim(value)) for value in sheet.column("code", "class")] for sheet in tables]
    filled = [code for column in codes for code in column if code]
    # ".0" is taken off only where every code has it: elsewhere "1.0" may well be a code of its own
    whole = [whole_number(code) for code in filled]
    mend = bool(filled) and all(code != given for code, given in zip(whole, filled, strict=True))
    if mend:
        filled = whole
    by_columns = any(sheet.find("parent") is not None for sheet in tables)
    parents = _parents(filled, source.options.digits, [] if by_columns else source.notes)
    for sheet, column in zip(tables, codes, strict=True):
        parent_at = sheet.find("parent")
        fields = _columns(sheet, default)
        for row in collector.open(sheet, "codes"):
            code = collector.code(sheet, row, column[row], mend=mend)
            if not code:
                continue
            cells = sheet.rows[row]
            parent = whole_number(tidy(trim(cells[parent_at]))) if parent_at is not None else parents[code]
            titles = {lang: tidy(cells[at]) for at, what, lang in fields if what == "title"}
            descriptions = {lang: cells[at].strip() for at, what, lang in fields if what == "description"}
            if collector.node(code, parent, titles, descriptions, sheet=sheet, row=row):
                for at, what, lang in fields:
                    if what not in ("title", "description"):
                        for part in filter(None, map(tidy, re.split(r"[\n|]", cells[at]))):
                            collector.text(sheet, row, code, what, lang, part)
    return collector.finish()


def _parents(codes: list[str], digits: tuple[int, ...], notes: list[str]) -> dict[str, str]:
    if not digits:
        parents = longest_prefix_parents(codes)
        plain = longest_prefix_parents(codes, whole_parts=False)
        if cut := [f"{c} (parent {p})" for c, p, q in zip(codes, parents, plain, strict=True) if p != q]:
            notes.append(f"codes were cut at their separators: {name_some(cut)}; else give digits or a parent column")
        return dict(zip(codes, parents, strict=True))
    known = set(codes)
    return {c: next((c[:d] for d in reversed(digits) if d < len(c) and c[:d] in known), "") for c in codes}
