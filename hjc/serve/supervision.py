"""How far coders agree while they code, by the same measure as ``hjc data agreement``."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hjc.corpus.agreement import OVERALL, agreement, ratings_from_long
from hjc.serve.desk_schemas import Figure, LevelAgreement
from hjc.taxonomy import Taxonomy


def agreement_by_level(tree: Taxonomy, ratings: Sequence[Mapping[str, Any]]) -> list[LevelAgreement]:
    """Figures of each level over the ads that two coders or more have coded; [] where there are none."""
    times: dict[int, int] = {}
    for row in ratings:
        times[row["id"]] = times.get(row["id"], 0) + 1
    both = [row for row in ratings if times[row["id"]] > 1]
    if not both:
        return []
    nodes, *_ = ratings_from_long(
        tree, [str(row["id"]) for row in both], [row["coder"] for row in both], [row["code"] or "" for row in both]
    )
    found = agreement(tree, nodes).overall
    return [
        LevelAgreement(level=int(row["level"]), figures={name: _figure(row, name) for name in OVERALL})
        for row in found.to_dict("records")
    ]


def _figure(row: Mapping[Any, Any], name: str) -> Figure:
    """As JSON can have it: null where it is not defined."""
    value, low, high = (
        None if math.isnan(x) else float(x) for x in (row[name], row[f"{name}_low"], row[f"{name}_high"])
    )
    return Figure(value=value, low=low, high=high, n=int(row["alpha_units" if name == "alpha" else "units"]))
