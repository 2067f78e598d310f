"""Where similarities of categories come from: shared items, texts, vectors, crosswalks, confusions of a model.

Each function returns a :class:`CategoryGraph` with its provenance, thinned out to the
``k`` strongest links of each leaf (None keeps all). N nodes, L leaves, M items, H dimensions.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import sparse

from hjc.arrays import Float64, FloatArray, IntArray, spans
from hjc.crosswalk.correspondence import NOWHERE, Correspondence
from hjc.crosswalk.mapping import Crosswalk
from hjc.errors import TaxonomyError, check_choice, name_some
from hjc.index import exact_search, normalise
from hjc.index.exact import as_vectors
from hjc.taxonomy.graph.category_graph import CategoryGraph
from hjc.taxonomy.tree import Taxonomy

Method = Literal["jaccard", "tfidf"]
#: links of a leaf that are kept where nothing else is said
LINKS = 50
_BLOCK = 4_000_000


def file_stamp(path: str | Path) -> dict[str, Any]:
    """Name, size, day of the last change (UTC) and SHA-256 of a file, for the provenance."""
    path = Path(path)
    stat = path.stat()
    day = datetime.fromtimestamp(stat.st_mtime, UTC).date().isoformat()
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"name": path.name, "size": stat.st_size, "modified": day, "sha256": digest}


# ---------------------------------------------------------------------- shared items


def item_graph(
    taxonomy: Taxonomy,
    table: Correspondence,
    *,
    method: Method = "jaccard",
    idf: bool = True,
    min_value: float | None = None,
    k: int | None = LINKS,
    files: Sequence[str | Path] = (),
    kind: str = "items",
) -> CategoryGraph:
    """Leaves that share items: skills, tasks, technologies, tools.

    With x the leaf's values of the items (1, or the table's weight, say the importance of a skill) times the item's
    ``idf = ln((1 + n) / (1 + df))`` (Spärck Jones 1972; n leaves that have items, df that have this one: what every
    leaf has says nothing):

    * ``jaccard``: sum min(x, y) / sum max(x, y) (Ružička 1958, the weighted Jaccard index);
    * ``tfidf``: the cosine of x and y (Salton & Buckley 1988).

    Args:
        table: codes as source, items as target (compared without regard to case). The items of an inner code hold
            for every leaf under it.
        min_value: leave out items below this weight (O*NET calls importance 3 and more important).

    Raises:
        TaxonomyError: no code of the table is in the tree.
        ValueError: ``min_value`` for a table without weights.
    """
    check_choice("method", method, get_args(Method))
    x, counts = item_matrix(taxonomy, table, min_value=min_value)
    having = int((np.diff(x.indptr) > 0).sum())
    if idf:
        df = np.bincount(x.indices, minlength=x.shape[1])
        x = sparse.csr_array(x @ sparse.diags_array(np.log((1 + having) / (1 + df))))
        x.eliminate_zeros()
    options = {"method": method, "idf": idf, "min_value": min_value, "k": k}
    rows = _ruzicka(x) if method == "jaccard" else _cosine(x)
    return _graph(taxonomy, _strongest(rows, taxonomy.num_leaves, k), kind, options, counts, files, x)


def item_matrix(
    taxonomy: Taxonomy, table: Correspondence, *, min_value: float | None = None
) -> tuple[sparse.csr_array, dict[str, int]]:
    """(L, M) values of items for each leaf, and counts for the provenance. A repeated item keeps its largest value."""
    if min_value is not None and table.weight is None:
        raise ValueError(f"min_value: {table.name} has no weights to compare with {min_value}")
    items: dict[str, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    unknown: dict[str, int] = {}
    low = 0
    for code, item, value in zip(table.source, table.target, table.weight or (1.0,) * len(table), strict=True):
        name = " ".join(item.split()).casefold()
        if (node := taxonomy.index_of.get(code)) is None:
            unknown[code] = unknown.get(code, 0) + 1
        elif item == NOWHERE or value <= 0 or (min_value is not None and value < min_value):
            low += 1
        else:
            start, stop = taxonomy.leaf_slice[node].tolist()
            column = items.setdefault(name, len(items))
            for leaf in range(start, stop):
                rows.append(leaf)
                columns.append(column)
                values.append(value)
    if not rows:
        raise TaxonomyError(
            f"{table.name}: no item belongs to a code of {taxonomy.name!r}; the table has codes like "
            f"{name_some(table.source, 3)}, the tree {name_some(taxonomy.leaf_codes, 3)}"
        )
    r, c, v = np.array(rows), np.array(columns), np.array(values)
    order = np.lexsort((-v, c, r))
    first = np.r_[True, (np.diff(r[order]) != 0) | (np.diff(c[order]) != 0)]
    kept = order[first]
    x = sparse.csr_array((v[kept], (r[kept], c[kept])), shape=(taxonomy.num_leaves, len(items)))
    x.sort_indices()
    counts = {
        "rows": len(table), "items": len(items), "leaves_with_items": int((np.diff(x.indptr) > 0).sum()),
        "rows_below_min_value": low, "rows_of_unknown_codes": sum(unknown.values()), "unknown_codes": len(unknown),
    }  # fmt: skip
    return x, counts


def _ruzicka(x: sparse.csr_array) -> Iterator[tuple[int, Float64]]:
    """First row and similarities of blocks of rows: sum min / sum max = common / (total + total - common)."""
    by_item = sparse.csc_array(x)
    total = np.asarray(x.sum(axis=1)).ravel()
    for row in range(x.shape[0]):
        part = slice(*x.indptr[row : row + 2])
        own = x.data[part]
        starts, stops = by_item.indptr[x.indices[part]], by_item.indptr[x.indices[part] + 1]
        width = stops - starts
        # the entries of all these columns, one after the other
        where = spans(starts, stops)
        smaller = np.minimum(by_item.data[where], np.repeat(own, width))
        common = np.bincount(by_item.indices[where], weights=smaller, minlength=x.shape[0])
        with np.errstate(invalid="ignore", divide="ignore"):
            yield row, np.nan_to_num(common / (total + total[row] - common))[None, :]


def _cosine(x: sparse.csr_array) -> Iterator[tuple[int, Float64]]:
    length = np.sqrt(np.asarray(x.multiply(x).sum(axis=1)).ravel())
    unit = sparse.csr_array(sparse.diags_array(1 / np.where(length > 0, length, 1)) @ x)
    step = max(1, _BLOCK // max(1, x.shape[0]))
    for start in range(0, x.shape[0], step):
        yield start, (unit[start : start + step] @ unit.T).toarray()


def _strongest(rows: Iterable[tuple[int, Float64]], size: int, k: int | None, minimum: float = 0.0) -> sparse.csr_array:
    """The k largest entries above ``minimum`` of each row (ties in order), without the diagonal; symmetric by max."""
    r, c, v = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    for start, block in rows:
        for i, values in enumerate(block, start):
            found = np.flatnonzero(values > minimum)
            found = found[found != i]
            if k is not None and len(found) > k:
                found = found[np.argsort(-values[found], kind="stable")[:k]]
            r.append(np.full(len(found), i))
            c.append(found)
            v.append(np.minimum(values[found], 1.0))
    m = sparse.csr_array((np.concatenate(v), (np.concatenate(r), np.concatenate(c))), shape=(size, size))
    return sparse.csr_array(m.maximum(m.T))


# ---------------------------------------------------------------------- texts and vectors


def text_graph(
    taxonomy: Taxonomy,
    texts: Sequence[str] | None = None,
    *,
    language: str = "en",
    analyzer: Literal["word", "char_wb"] = "word",
    minimum: float = 0.0,
    k: int | None = LINKS,
    files: Sequence[str | Path] = (),
) -> CategoryGraph:
    """Leaves with similar texts: the cosine of tf-idf vectors (words and pairs of words, or 3 to 5 letters).

    Args:
        texts: one a leaf, in column order; default: the tree's title and description.
        minimum: leave out similarities up to this.

    Raises:
        ValueError: another number of texts, or no text at all.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    check_choice("analyzer", analyzer, ("word", "char_wb"))
    given = texts is not None
    if texts is None:
        texts = [leaf_text(taxonomy, node, language) for node in taxonomy.leaves.tolist()]
    if len(texts) != taxonomy.num_leaves:
        raise ValueError(f"texts: got {len(texts)}, expected one for each of the {taxonomy.num_leaves} leaves")
    if not any(text.strip() for text in texts):
        raise ValueError(f"{taxonomy.name!r} has no titles or descriptions in {language!r} to compare")
    ngrams, token = ((1, 2), r"(?u)\b\w+\b") if analyzer == "word" else ((3, 5), None)
    vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, sublinear_tf=True, token_pattern=token)
    x = sparse.csr_array(vectorizer.fit_transform(texts), dtype=np.float64)
    options = {
        "analyzer": analyzer, "ngrams": list(ngrams), "language": None if given else language,
        "minimum": minimum, "k": k,
    }  # fmt: skip
    counts = {"leaves_with_text": sum(bool(text.strip()) for text in texts), "terms": int(x.shape[1])}
    found = _strongest(_cosine(x), taxonomy.num_leaves, k, minimum)
    return _graph(taxonomy, found, "texts", options, counts, files, x)


def leaf_text(taxonomy: Taxonomy, node: int, language: str) -> str:
    """Title and description of a node in a language (else in the first that has them)."""
    described = [taxonomy.descriptions.get(language), *taxonomy.descriptions.values()]
    description = next((texts[node] for texts in described if texts is not None and texts[node]), "")
    return f"{taxonomy.title(node, language)}\n{description}".strip()


def vector_graph(
    taxonomy: Taxonomy,
    vectors: npt.ArrayLike,
    *,
    minimum: float = 0.0,
    k: int = LINKS,
    encoder: str = "",
    files: Sequence[str | Path] = (),
) -> CategoryGraph:
    """Nodes with similar vectors (of titles or descriptions, by any encoder): their cosine, where above ``minimum``.

    Args:
        vectors: (L, H), a row a leaf column, or (N, H), a row a node: then the nodes of each level are linked too.
        encoder: what made the vectors, for the provenance.

    Raises:
        ValueError: another number of rows, or not finite.
    """
    x = normalise(as_vectors(vectors, "vectors"))
    n, leaves = len(taxonomy), taxonomy.num_leaves
    if len(x) not in (n, leaves):
        raise ValueError(f"vectors: got {len(x)} rows, expected {leaves} (leaves) or {n} (all nodes)")
    levels = [taxonomy.leaves] if len(x) == leaves else [taxonomy.level_nodes(d + 1) for d in range(taxonomy.depth)]
    total = sparse.csr_array((n, n))
    for nodes in levels:
        at = x if len(x) == leaves else x[nodes]
        found = exact_search(at, at, k + 1)
        rows = np.repeat(nodes, found.position.shape[1])
        columns, values = nodes[found.position.ravel()], found.similarity.ravel().astype(np.float64)
        # at the deepest levels of a ragged tree, columns may lie on one path only with themselves
        keep = (values > max(minimum, 0.0)) & (rows != columns)
        part = sparse.csr_array((values[keep], (rows[keep], columns[keep])), shape=(n, n))
        total = sparse.csr_array(total.maximum(part.maximum(part.T)))
    options = {"minimum": minimum, "k": k, "encoder": encoder, "rows": "leaves" if len(x) == leaves else "nodes"}
    source = _source("vectors", options, {"dimensions": int(x.shape[1])}, files, _digest(x))
    return CategoryGraph(taxonomy, total, {"sources": [source], "steps": []})


# ---------------------------------------------------------------------- crosswalks and confusions


def crosswalk_graph(walk: Crosswalk, *, k: int | None = LINKS, files: Sequence[str | Path] = ()) -> CategoryGraph:
    """Leaves of the source tree that lead to the same leaves of another tree: weighted Jaccard of their shares.

    Shares that are unmapped do not count. Leaves that inherit the links of an ancestor are alike altogether.
    """
    x = sparse.csr_array(walk.leaf_matrix[:, : walk.target.num_leaves])
    counts = {"leaves_with_targets": int((np.diff(x.indptr) > 0).sum()), "targets": len(set(x.indices.tolist()))}
    options = {"target": walk.target.name, "target_hash": walk.target.hash, "k": k}
    found = _strongest(_ruzicka(x), walk.source.num_leaves, k)
    return _graph(walk.source, found, "crosswalk", options, counts, files, x)


def confusion_graph(
    taxonomy: Taxonomy,
    counts: Any,
    *,
    shrink: float = 1.0,
    k: int | None = LINKS,
    files: Sequence[str | Path] = (),
    notes: Mapping[str, Any] | None = None,
) -> CategoryGraph:
    """Leaves that a model takes for each other: the mean of P(coded j | true i) and P(coded i | true j).

    Args:
        counts: (L, L) weights of rows, true leaf by coded leaf, dense or sparse; see :func:`confusion_counts` and
            :func:`confusion_table`.
        shrink: added to the rows of each true leaf, so that one wrong row out of one is not a certainty.

    Raises:
        TaxonomyError: another shape; ValueError: negative counts, no counts or a negative shrink.
    """
    c = sparse.csr_array(counts, dtype=np.float64)
    if c.shape != (taxonomy.num_leaves,) * 2:
        raise TaxonomyError(f"counts: got shape {c.shape}, expected {(taxonomy.num_leaves,) * 2}, true by coded leaf")
    if not c.nnz or not np.isfinite(c.data).all() or c.data.min() < 0 or shrink < 0:
        raise ValueError("counts must be finite numbers from 0, not all 0, and shrink must not be negative")
    size = np.asarray(c.sum(axis=1)).ravel() + shrink
    p = sparse.csr_array(sparse.diags_array(1 / np.where(size > 0, size, 1)) @ c)
    p = sparse.csr_array((p + p.T) / 2)
    rows = ((i, p[[i]].toarray()) for i in range(p.shape[0]))
    options = {"shrink": shrink, "k": k, **(notes or {})}
    about = {"rows": float(c.sum()), "right": float(c.trace()), "leaves_with_rows": int((np.diff(c.indptr) > 0).sum())}
    return _graph(taxonomy, _strongest(rows, p.shape[0], k), "confusions", options, about, files, c)


def confusion_counts(
    taxonomy: Taxonomy, log_proba: FloatArray, gold: npt.ArrayLike, *, keep: int = 20
) -> tuple[sparse.csr_array, int]:
    """Soft counts (L, L) from leaf log-probabilities (B, L) and gold nodes (B,): a row adds its ``keep`` largest
    probabilities to its gold leaf. Rows without a gold leaf (inner node, or -1) are left out and counted.

    Add the counts of batches up; they are sparse.
    """
    x, g = np.asarray(log_proba), np.asarray(gold, dtype=np.int64)
    if x.ndim != 2 or x.shape[1] != taxonomy.num_leaves or g.shape != (len(x),):
        raise ValueError(f"got {x.shape} probabilities and {g.shape} codes, expected (rows, {taxonomy.num_leaves})")
    column = np.full(len(taxonomy) + 1, -1, dtype=np.int64)  # the last entry answers for -1
    column[taxonomy.leaves] = np.arange(taxonomy.num_leaves)
    true = column[g]
    use = np.flatnonzero(true >= 0)
    keep = min(keep, taxonomy.num_leaves)
    top = np.argsort(-x[use], axis=1, kind="stable")[:, :keep]
    p = np.exp(np.take_along_axis(x[use], top, axis=1).astype(np.float64))
    shape = (taxonomy.num_leaves,) * 2
    counts = sparse.csr_array((p.ravel(), (np.repeat(true[use], keep), top.ravel())), shape=shape)
    return counts, int(len(x) - len(use))


def confusion_table(taxonomy: Taxonomy, table: Correspondence) -> tuple[sparse.csr_array, int]:
    """Counts (L, L) from a table of true and coded codes (and counts); pairs that are not two leaves are left out.

    Raises:
        TaxonomyError: no pair has both codes among the leaves.
    """
    column = {code: i for i, code in enumerate(taxonomy.leaf_codes)}
    weights = table.weight or (1.0,) * len(table)
    pairs = [
        (column[s], column[t], w)
        for s, t, w in zip(table.source, table.target, weights, strict=True)
        if s in column and t in column
    ]
    if not pairs:
        raise TaxonomyError(f"{table.name}: no pair of true and coded code has two leaves of {taxonomy.name!r}")
    true, coded, weight = zip(*pairs, strict=True)
    return sparse.csr_array((weight, (true, coded)), shape=(taxonomy.num_leaves,) * 2), len(table) - len(pairs)


# ---------------------------------------------------------------------- provenance


def _digest(*arrays: npt.NDArray[Any] | IntArray) -> str:
    digest = hashlib.sha256()
    for a in arrays:
        digest.update(f"{a.dtype.str}{a.shape}".encode())
        digest.update(np.ascontiguousarray(a).tobytes())
    return digest.hexdigest()


def _source(
    kind: str, options: Mapping[str, Any], counts: Mapping[str, float], files: Sequence[str | Path], digest: str
) -> dict[str, Any]:
    return {
        "kind": kind, "weight": 1.0, "options": dict(options), "counts": dict(counts),
        "files": [file_stamp(path) for path in files], "input_sha256": digest,
    }  # fmt: skip


def _graph(
    taxonomy: Taxonomy, leaf_matrix: sparse.csr_array, kind: str, options: Mapping[str, Any],
    counts: Mapping[str, float], files: Sequence[str | Path], x: sparse.csr_array,
) -> CategoryGraph:  # fmt: skip
    digest = _digest(x.data.astype("<f8"), x.indices.astype("<i8"), x.indptr.astype("<i8"))
    source = _source(kind, options, counts, files, digest)
    return CategoryGraph.from_leaves(taxonomy, leaf_matrix, {"sources": [source], "steps": []})
