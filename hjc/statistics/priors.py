"""Shares of codes (priors) that probabilities are made for, and Bayes' rule from one to another. K codes of a level."""

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float64
from hjc.errors import name_some
from hjc.tables import ReadOptions, read_rows
from hjc.taxonomy.spelling import repair_codes
from hjc.taxonomy.tree import Taxonomy

#: columns of a file of shares, the first that is there
SHARE_COLUMNS = ("share", "prior", "count", "rows", "weight")


def leaf_log_ratio(taxonomy: Taxonomy, level: int, new: npt.ArrayLike, old: npt.ArrayLike) -> Float64:
    """(L,) ln (new / old) of the column of a level that each leaf lies under.

    P'(leaf | text) ~ P(leaf | text) new / old (Saerens et al. 2002, eq. 2.4): right where P(text | code of the level)
    is the same in both populations; shares within a code of the level stay as they were.

    Args:
        new, old: (K,) shares; old above 0. A new share of 0 makes a code impossible.
    """
    to, since = (np.asarray(x, dtype=np.float64) for x in (new, old))
    k = len(taxonomy.level_nodes(taxonomy.check_level(level)))
    if to.shape != (k,) or since.shape != (k,) or not (since > 0).all() or not (to >= 0).all() or not to.sum() > 0:
        raise ValueError(f"priors of level {level}: got {to.shape} and {since.shape}, expected ({k},) shares from 0")
    with np.errstate(divide="ignore"):
        ratio = np.log(to / to.sum()) - np.log(since / since.sum())
    return np.asarray(ratio[taxonomy.level_column[taxonomy.leaves, level - 1]])


def level_sums(taxonomy: Taxonomy, level: int, leaf: Float64) -> Float64:
    """(L,) shares of leaves -> (K,) of the columns of a level."""
    return np.asarray(np.add.reduceat(leaf, taxonomy.leaf_slice[taxonomy.level_nodes(level), 0]))


def read_prior(path: str, taxonomy: Taxonomy) -> tuple[int, Float64]:
    """The level and (K,) shares of a table with a column ``code`` and one of :data:`SHARE_COLUMNS`, summing to 1.

    A table of several levels (of ``hjc estimate``) is read at its deepest one, which must be whole.

    Raises:
        ValueError: a column is absent; a share is no number from 0; a code stands twice, is unknown, or missing.
    """
    table = read_rows(path, ReadOptions())
    table.check_columns(["code"])
    column = next((name for name in SHARE_COLUMNS if name in table.columns), None)
    if column is None:
        raise ValueError(
            f"--prior {path}: no column {', '.join(SHARE_COLUMNS)}; a prior has the columns code and share"
        )
    given = [code.strip() for code in table.column("code").tolist()]
    codes, report = repair_codes(taxonomy, given)
    if unknown := [code for code in codes if code not in taxonomy.index_of]:
        why = report.reasons.get(unknown[0], "not in the taxonomy")
        raise ValueError(f"--prior {path}: {len(unknown)} codes are unknown: {name_some(unknown)} ({why})")
    nodes = taxonomy.encode(codes)
    share = np.full(len(taxonomy), np.nan)
    for node, code, cell in zip(nodes.tolist(), codes, table.column(column).tolist(), strict=True):
        try:
            value = float(cell.replace(",", "."))
        except ValueError:
            value = np.nan
        if not 0 <= value < np.inf:
            raise ValueError(f"--prior {path}: code {code!r} has the {column} {cell!r}; shares are numbers from 0")
        if not np.isnan(share[node]):
            raise ValueError(f"--prior {path}: code {code!r} stands there twice")
        share[node] = value
    if not len(nodes):
        raise ValueError(f"--prior {path}: has no rows; give every code of one level a share")
    level = int(taxonomy.level[nodes].max())
    whole = taxonomy.level_nodes(level)
    if missing := [taxonomy.codes[i] for i in whole[np.isnan(share[whole])].tolist()]:
        raise ValueError(
            f"--prior {path}: {len(missing)} of {len(whole)} codes of level {level} are missing: {name_some(missing)}; "
            f"give every code of one level a share (0 where there is none){_above(taxonomy, level, share)}"
        )
    found = share[whole]
    with np.errstate(over="ignore"):
        total = float(found.sum())
    if not total > 0:
        raise ValueError(f"--prior {path}: all shares are 0")
    if total == np.inf:
        raise ValueError(f"--prior {path}: the sum of the shares is no number: they are too large")
    return level, np.asarray(found / total)


def _above(taxonomy: Taxonomy, level: int, share: Float64) -> str:
    """What else can be done where a broader level is whole."""
    whole = [d for d in range(level - 1, 0, -1) if not np.isnan(share[taxonomy.level_nodes(d)]).any()]
    return f", or leave out the codes below level {whole[0]}, which is whole" if whole else ""
