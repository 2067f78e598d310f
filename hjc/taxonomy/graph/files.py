"""Tables of what occupations have in common, for ``item_graph`` and ``text_graph``."""

from collections.abc import Collection, Sequence
from pathlib import Path

from hjc.crosswalk.correspondence import Correspondence
from hjc.crosswalk.readers import read_cells, read_correspondence
from hjc.errors import TaxonomyError, name_some
from hjc.taxonomy.tree import Taxonomy

#: names of columns that are looked for, the first that a table has is taken: O*NET as text or Excel files and as tidy
#: tables, ESCO's occupation-skill relations, texts.csv.gz of ``hjc taxonomy import``
CODES = ("code", "O*NET-SOC Code", "occupationUri", "esco_code", "onet_code")
ITEMS = (
    "item", "skill", "element", "Element Name", "example", "Example", "skillUri", "technology", "tool", "task", "Task",
    "text",
)  # fmt: skip
VALUES = ("importance",)
KINDS = ("kind", "relationType", "relation", "type")


def read_items(
    path: str | Path,
    *,
    code: str = "",
    item: str = "",
    value: str = "",
    kind: str = "",
    kinds: Collection[str] = (),
) -> Correspondence:
    """Read pairs of a code and an item (skill, technology, tool): CSV or TSV (also .gz), .xlsx.

    Args:
        code, item, value, kind: columns; without a name those of :data:`CODES`, :data:`ITEMS`, :data:`VALUES` (a
            number for the pair, 1 where there is no such column) and :data:`KINDS`.
        kinds: keep only rows of these kinds (skill, technology; essential).

    Raises:
        FileNotFoundError, TaxonomyError: no such file, or the table has no such columns.
    """
    path = Path(path)
    rows = read_cells(path)
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    columns = {
        "source": _find(path, header, code, CODES, "codes (--code-column)"),
        "target": _find(path, header, item, ITEMS, "items (--item-column)"),
        "weight": value or next((name for name in VALUES if name in header), ""),
        "relation": _find(path, header, kind, KINDS, "kinds (--kind-column)") if kinds else "",
    }
    return read_correspondence(path, **columns, relations=kinds)


def leaf_texts(taxonomy: Taxonomy, table: Correspondence) -> list[str]:
    """L texts for :func:`~hjc.taxonomy.graph.sources.text_graph`: the items of each leaf (its tasks, say), joined.

    The items of an inner code hold for every leaf under it; items of codes that the tree does not have are left out.

    Raises:
        TaxonomyError: no code of the table is in the tree.
    """
    texts: list[list[str]] = [[] for _ in range(taxonomy.num_leaves)]
    for code, item in zip(table.source, table.target, strict=True):
        if code in taxonomy.index_of:
            for leaf in range(*taxonomy.leaf_slice[taxonomy.index_of[code]].tolist()):
                texts[leaf].append(item)
    if not any(texts):
        raise TaxonomyError(f"{table.name}: no text belongs to a code of {taxonomy.name!r}")
    return ["\n".join(items) for items in texts]


def _find(path: Path, header: Sequence[str], given: str, known: Sequence[str], what: str) -> str:
    if given:
        return given
    found = next((name for name in known if name in header), "")
    if not found:
        raise TaxonomyError(f"{path}: which column has the {what}? The table has {name_some(header, 30)}")
    return found
