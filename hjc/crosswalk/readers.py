"""Correspondence tables from files: the offices' own layouts, recognised by their headers, and any other by a column
map; and several of them in a row as one crosswalk.

Codes are read as text. A cell of a spreadsheet that holds a number is a code only where it is as long as the longest
code of its column, so that it cannot have lost a leading zero; else it is refused.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hjc.crosswalk.correspondence import Correspondence, mend_table
from hjc.crosswalk.mapping import Crosswalk, build_crosswalk
from hjc.errors import TaxonomyError, name_some
from hjc.tables import Rejects, open_cells
from hjc.tables.excel import NumberText
from hjc.taxonomy.csvio import as_taxonomy_error, reading, stem
from hjc.taxonomy.load import isco08
from hjc.taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class Layout:
    """Which columns of a table mean what. A column is a name of the header or, where names repeat, "#3" (the third).

    ``header`` are names that a header must have for the layout to be recognised (default: source and target).
    """

    name: str
    source: str
    target: str
    source_title: str = ""
    target_title: str = ""
    weight: str = ""
    relation: str = ""
    header: tuple[str, ...] = ()


#: tables that are recognised by their header
LAYOUTS = (
    Layout("ISCO-08 to SOC 2010 (BLS)", "isco2008", "soc2010", "isco2008_title", "soc2010_title"),
    Layout("ISCO-08 to SOC 2018", "isco2008", "soc2018"),
    Layout("O*NET-SOC 2010 to SOC 2018 (O*NET Center)", "onet2010", "soc2018", target_title="soc2018_title"),
    Layout("O*NET to ESCO (EC and USDOL)", "onet_code", "esco_uri", "onet_title", "esco_label", relation="relation"),
    Layout("KZiS to ESCO", "kzis_code", "esco_code", "kzis_name", "esco_label_pl"),
    Layout("SSYK 2012 to ISCO-08", "ssyk2012", "isco08"),
    # corrtab88-08.xls and corrtab08-88.xls; the column "ISCO-08 part" has a p where the link is to a part of the group
    Layout("ISCO-88 to ISCO-08 (ILO)", "ISCO-88 code", "ISCO 08 Code", "ISCO-88 Title EN", "ISCO-08 Title EN"),
    Layout("ESCO 1.0.8 to ESCO 1.2.1", "esco_code_v108", "esco_code_v121"),
    Layout("KZiS 2014 to KZiS 2022 (key of the ministry)", "#1", "#3", "#2", "#4", header=("Symbol cyfrowy zawodu",)),
    Layout("a crosswalk written by hjc", "source", "target", weight="share", header=("source", "target", "share")),
    Layout("source and target columns", "source", "target", "source_title", "target_title", "weight"),
)
#: rows of a sheet in which a header is looked for
_HEADER_WITHIN = 20


def read_correspondence(
    path: str | Path,
    *,
    source: str = "",
    target: str = "",
    weight: str = "",
    relation: str = "",
    relations: Collection[str] = (),
) -> Correspondence:
    """Read a correspondence table: CSV, TSV (plain or .gz), or the first sheet of .xls or .xlsx (extra ``excel``).

    Args:
        source, target: columns of codes, by name or "#1", "#2". Without them the header is looked up in
            :data:`LAYOUTS`; a table of two columns is source and target in that order.
        weight: column of weights. Optional.
        relation: column of relations (exactMatch, broadMatch ...); ``relations`` keeps only these and counts the rest.

    Raises:
        FileNotFoundError: no such file.
        TaxonomyError: not a table, a column is missing, a weight is no number, a code is a number in a sheet.
        ImportError: a workbook without the packages that read it.
    """
    path = Path(path)
    rows = read_cells(path)
    asked = Layout("asked for", source, target, weight=weight, relation=relation)
    start, layout = _find_header(path, rows, asked)
    header = rows[start][1]
    rows = _wide(path, rows[start + 1 :], len(header))
    column = {
        key: _column(path, header, getattr(layout, key))
        for key in ("source", "target", "source_title", "target_title", "weight", "relation")
        if getattr(layout, key)
    }
    if relations and "relation" not in column:
        raise TaxonomyError(f"{path}: relations {name_some(relations)} were asked for, but no column has relations")
    codes: dict[str, list[str]] = {"source": [], "target": []}
    weights: list[float] = []
    added: list[str] = []
    titles: dict[str, dict[str, str]] = {"source": {}, "target": {}}
    left_out: dict[str, int] = {}
    blank = 0
    longest = {s: max((len(row[column[s]].strip()) for _, row in rows), default=0) for s in codes}
    for number, row in rows:
        pair = {side: row[column[side]].strip() for side in codes}
        if not any(pair.values()):
            blank += 1
            continue
        for side in codes:
            if isinstance(row[column[side]], NumberText) and len(pair[side]) != longest[side]:
                raise TaxonomyError(
                    f"{path}, row {number}: the {side} code {pair[side]} is a number in the sheet and may have lost "
                    "leading zeros; format the column as text, or save it as CSV with codes as text"
                )
            if pair[side] and f"{side}_title" in column:
                titles[side].setdefault(pair[side], row[column[f"{side}_title"]].strip())
        if relations and (kind := row[column["relation"]].strip()) not in relations:
            left_out[kind] = left_out.get(kind, 0) + 1
            continue
        if not pair["source"]:
            added.append(pair["target"])
            continue
        for side, code in pair.items():
            codes[side].append(code)
        if "weight" in column:
            weights.append(_number(path, number, row[column["weight"]]))
    notes = [f"{count:,} pairs with the relation {kind!r} were left out" for kind, count in left_out.items()]
    if blank:
        notes.append(f"{blank:,} rows without any code were left out")
    if not codes["source"]:
        raise TaxonomyError(f"{path}: no pair of codes ({'; '.join(notes) or 'the table has no rows'})")
    return Correspondence(
        source=tuple(codes["source"]),
        target=tuple(codes["target"]),
        weight=tuple(weights) if "weight" in column else None,
        added=tuple(dict.fromkeys(added)),
        source_titles=titles["source"],
        target_titles=titles["target"],
        name=stem(path),
        notes=tuple(notes),
    )


def _number(path: Path, row: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise TaxonomyError(f"{path}, row {row}: the weight is {text!r}, which is not a number") from None


def _find_header(path: Path, rows: Sequence[tuple[int, list[str]]], asked: Layout) -> tuple[int, Layout]:
    """The row of the header and the layout; columns that were asked for come before recognised ones."""
    if bool(asked.source) != bool(asked.target):
        raise TaxonomyError(f"{path}: name both columns, of the source codes and of the target codes")
    if not rows:
        raise TaxonomyError(f"{path} is empty; a header with the names of the columns is needed")
    for start, (_, row) in enumerate(rows[:_HEADER_WITHIN]):
        names = {cell.strip() for cell in row}
        if asked.source:
            named = [c for c in (asked.source, asked.target) if not c.startswith("#")]
            if names.issuperset(named):
                return start, asked
            continue
        for known in LAYOUTS:
            if names.issuperset(known.header or (known.source, known.target)):
                return start, _merge(known, asked, names)
    header = [cell.strip() for cell in rows[0][1]]
    if asked.source:
        missing = [c for c in (asked.source, asked.target) if not c.startswith("#") and c not in header]
        raise TaxonomyError(f"{path}: no column {missing[0]!r}; columns are {name_some(header, 30)}")
    if len(header) == 2:
        return 0, _merge(Layout("two columns", "#1", "#2"), asked, set(header))
    raise TaxonomyError(
        f"{path}: none of the known tables has these columns: {name_some(header, 30)}. "
        "Say which are the source codes and the target codes (--source-column, --target-column)"
    )


def _merge(known: Layout, asked: Layout, names: Collection[str]) -> Layout:
    """A recognised layout with what was asked for on top, without optional columns that the file does not have."""
    found: dict[str, Any] = {}
    for key in ("source_title", "target_title", "weight", "relation"):
        name = getattr(known, key)
        found[key] = getattr(asked, key) or (name if name.startswith("#") or name in names else "")
    return replace(known, **found)


def _column(path: Path, header: Sequence[str], name: str) -> int:
    stripped = [cell.strip() for cell in header]
    if name.startswith("#") and name[1:].isdigit() and name not in stripped:
        if not 1 <= int(name[1:]) <= len(header):
            raise TaxonomyError(f"{path}: column {name}: the table has {len(header)} columns")
        return int(name[1:]) - 1
    if stripped.count(name) != 1:
        what = "no column" if name not in stripped else "more than one column"
        raise TaxonomyError(f"{path}: {what} {name!r}; columns are {name_some(stripped, 30)}. '#3' is the third")
    return stripped.index(name)


def read_cells(path: Path) -> list[tuple[int, list[str]]]:
    """Every row of a table as it stands, with its line, blank rows left out; of a workbook the first sheet.

    Raises:
        FileNotFoundError, ImportError, TaxonomyError: as :func:`read_correspondence`.
    """
    rejects = Rejects()
    with as_taxonomy_error():
        sheets = open_cells(path, reading(path, None, None), rejects=rejects)
        found = list(next(sheets)[1])
        rejects.refuse(str(path))
    return found


def _wide(path: Path, rows: Sequence[tuple[int, list[str]]], width: int) -> list[tuple[int, list[str]]]:
    """The rows with a cell for every column of the header: empty last cells may be left out."""
    if wrong := [number for number, row in rows if any(row[width:])]:
        raise TaxonomyError(
            f"{path}: {len(wrong)} rows do not have the {width} columns of the header (first: row {wrong[0]}); "
            "texts that contain the separator must be quoted"
        )
    return [(number, [*row, *[""] * (width - len(row))][:width]) for number, row in rows]


def _whole(path: Path, expected: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header and the rows of a table that begins with its header."""
    rows = read_cells(path)
    if not rows:
        raise TaxonomyError(f"{path} is empty; expected {expected}")
    return rows[0][1], _wide(path, rows[1:], len(rows[0][1]))


def read_counts(path: str | Path) -> dict[str, float]:
    """Counts of codes from a table with the columns ``code,count``; counts of a code that stands twice add up.

    Raises:
        FileNotFoundError, TaxonomyError: as :func:`read_correspondence`.
    """
    path = Path(path)
    header, rows = _whole(path, "the columns code,count")
    i, j = _column(path, header, "code"), _column(path, header, "count")
    out: dict[str, float] = {}
    for number, row in rows:
        out[row[i].strip()] = out.get(row[i].strip(), 0.0) + _number(path, number, row[j])
    return out


#: columns of URIs and of codes in ESCO's own bundles, in Tabiya's layout, and in tidy tables
IDENTIFIERS = (("uri", "esco_code"), ("conceptUri", "code"), ("ORIGINURI", "CODE"))


def read_identifiers(path: str | Path) -> Mapping[str, str]:
    """identifier -> code from a table that has both, for :meth:`Correspondence.relabel`.

    The columns are those of :data:`IDENTIFIERS` that the file has.
    An ESCO URI is known in full, without its start (``occupation/<uuid>``), and as the bare uuid; with ESCO URIs in the
    table come those of the ISCO-08 groups (``isco/C1111``).

    Raises:
        FileNotFoundError, TaxonomyError: as :func:`read_correspondence`.
    """
    path = Path(path)
    header, rows = _whole(path, "columns of identifiers and codes")
    found = next((pair for pair in IDENTIFIERS if {cell.strip() for cell in header}.issuperset(pair)), None)
    if found is None:
        raise TaxonomyError(
            f"{path}: no columns {' nor '.join(','.join(pair) for pair in IDENTIFIERS)}; columns are "
            f"{name_some(header, 30)}. An ESCO occupations file is needed, of any version"
        )
    i, j = (_column(path, header, name) for name in found)
    out: dict[str, str] = {}
    for _, row in rows:
        name, value = row[i].strip(), row[j].strip()
        parts = name.split("/")
        for known in (name, "/".join(parts[-2:]), parts[-1]):
            if value and known:
                out.setdefault(known, value)
    if any("/esco/" in name for name in out):
        for value in isco08().codes:
            for start in ("", "isco/", "http://data.europa.eu/esco/isco/"):
                out.setdefault(f"{start}C{value}", value)
    return out


def read_links(
    path: str,
    *,
    source_column: str = "",
    target_column: str = "",
    weight_column: str = "",
    relation_column: str = "",
    relation: Sequence[str] | None = None,
    reverse: bool = False,
    ids: str | None = None,
) -> Correspondence:
    """A correspondence table; columns, relations: see :func:`read_correspondence`.

    Args:
        reverse: from its target to its source. ids: CSV with uri,esco_code; the table names ESCO codes by their URI.
    """
    links = read_correspondence(
        path, source=source_column, target=target_column, weight=weight_column, relation=relation_column,
        relations=relation or (),
    )  # fmt: skip
    if ids is not None:
        names = read_identifiers(ids)
        links = links.relabel(source=names, target=names)
    return links.reverse() if reverse else links


def read_chain(
    tables: Sequence[str],
    trees: Sequence[Taxonomy],
    *,
    weights: str = "uniform",
    unmapped: str = "keep",
    counts: str | None = None,
    restore_zeros: bool = False,
    reverse: bool = False,
    **columns: Any,
) -> Crosswalk:
    """One crosswalk of tables in a row.

    Args:
        tables: each from a tree to the next. trees: one more than tables.
        weights, unmapped: see :func:`build_crosswalk`. counts: CSV with code,count of the only table.
        restore_zeros: of the codes of the tables. reverse, columns: of :func:`read_links`.

    Raises:
        ValueError: numbers of tables and trees that do not fit; and of reading and building.
    """
    if not tables or len(trees) != len(tables) + 1:
        raise ValueError(f"{len(tables)} tables need {len(tables) - 1} taxonomies between them, got {len(trees) - 2}")
    if counts and len(tables) > 1:
        raise ValueError("--counts belongs to one table; write each crosswalk with --matrix and chain those")
    walk: Crosswalk | None = None
    for i, path in enumerate(tables):
        links = mend_table(
            read_links(path, reverse=reverse, **columns),
            trees[i],
            trees[i + 1],
            restore_zeros=restore_zeros,
            asking="command",
        )
        # A table that `Crosswalk.to_csv` wrote holds shares; its header says so.
        how = "shares" if weights == "uniform" and not reverse and _is_matrix(path) else weights
        part = build_crosswalk(
            links, trees[i], trees[i + 1], weights=how, unmapped=unmapped,  # type: ignore[arg-type]
            target_counts=None if counts is None else read_counts(counts),
        )  # fmt: skip
        walk = part if walk is None else walk.then(part)
    assert walk is not None
    return walk


def _is_matrix(path: str) -> bool:
    if Path(path).suffix != ".csv":
        return False
    with Path(path).open(encoding="utf-8-sig", errors="replace") as stream:
        return stream.readline().strip() == "source,target,share"
