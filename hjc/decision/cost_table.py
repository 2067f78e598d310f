"""A table of costs, from a file: what it costs to state one code where another is true."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hjc.arrays import Float64, IntArray
from hjc.errors import name_some
from hjc.taxonomy.tree import Taxonomy


@dataclass(frozen=True, eq=False)
class CostTable:
    """nodes (R,) that may be stated, -1 for stating nothing; cost (R, L) of each where leaf column j is true."""

    nodes: IntArray
    cost: Float64

    def __post_init__(self) -> None:
        if self.cost.ndim != 2 or len(self.nodes) != len(self.cost) or not len(self.nodes):
            raise ValueError(f"cost table: got {len(self.nodes)} nodes for costs of shape {self.cost.shape}")


def read_cost_table(path: str | Path, taxonomy: Taxonomy) -> CostTable:
    """Read a CSV (comma, semicolon or tab): a line a code that may be stated, a column a code that may be true.

    The first cell of a line is the code, empty for "state nothing"; codes without a line are never stated. Columns may
    be leaves or broader codes, such that every leaf lies under exactly one of them: a 10 by 10 table of major groups is
    enough. Costs are finite numbers; only their differences within a column matter.

    Raises:
        ValueError: unknown or repeated codes, a leaf under no column or under two, a cell that is no number.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save the table as UTF-8") from None
    head = text.split("\n", 1)[0]
    separator = max("\t;,", key=head.count)
    lines = [line for line in csv.reader(text.splitlines(), delimiter=separator) if any(map(str.strip, line))]
    if len(lines) < 2 or len(lines[0]) < 2:
        raise ValueError(
            f"{path}: expected a header with the true codes and a line for each code that may be stated, got "
            f"{len(lines)} lines of {len(lines[0]) if lines else 0} cells"
        )
    true = [cell.strip() for cell in lines[0][1:]]
    stated = [line[0].strip() for line in lines[1:]]
    if unknown := sorted({c for c in [*true, *stated] if c and c not in taxonomy.index_of} | ({""} & set(true))):
        raise ValueError(f"{path}: no codes of the taxonomy: {name_some(unknown)}")
    if again := sorted({c for c in stated if stated.count(c) > 1}):
        raise ValueError(f"{path}: more than one line for {name_some(again)}")
    column = np.full(taxonomy.num_leaves, -1, dtype=np.int64)
    for j, code in enumerate(true):
        start, stop = taxonomy.leaf_slice[taxonomy.index_of[code]]
        if (column[start:stop] >= 0).any():
            other = true[int(column[start:stop].max())]
            raise ValueError(
                f"{path}: columns {other!r} and {code!r} overlap; a leaf must lie under exactly one column"
            )
        column[start:stop] = j
    if (column < 0).any():
        missing = [taxonomy.codes[i] for i in taxonomy.leaves[column < 0].tolist()]
        raise ValueError(f"{path}: no column holds {name_some(missing)}; a leaf must lie under exactly one column")
    cost = np.empty((len(stated), len(true)))
    for i, line in enumerate(lines[1:]):
        cells = [cell.strip() for cell in line[1:]]
        if len(cells) != len(true):
            raise ValueError(f"{path}: the line of {stated[i]!r} has {len(cells)} costs for {len(true)} columns")
        for j, cell in enumerate(cells):
            cost[i, j] = _number(cell, separator)
            if not math.isfinite(cost[i, j]):
                raise ValueError(f"{path}: the cost of stating {stated[i]!r} for {true[j]!r} is {cell!r}, not a number")
    nodes = np.array([taxonomy.index_of[c] if c else -1 for c in stated], dtype=np.int64)
    return CostTable(nodes, cost[:, column])


def _number(cell: str, separator: str) -> float:
    try:
        return float(cell.replace(",", ".") if separator != "," else cell)
    except ValueError:
        return math.nan
