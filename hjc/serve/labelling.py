"""For labelling apps that poll: many rows as a job, and a tree of their own."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hjc.serve.coding import cells_of, part_of, plan_of, respond, usable
from hjc.serve.models import Served
from hjc.serve.schemas import PredictRequest, TaxonomyRequest
from hjc.serve.service import Service
from hjc.taxonomy import Taxonomy, from_edges

#: rows that go through the model at a time, so that requests that wait for an answer get theirs in between
ROWS = 256
#: seconds until a pass is given up: jobs wait their turn
WAIT = 600.0


def label_rows(served: Served, wanted: PredictRequest, progress: Callable[[float], None]) -> dict[str, Any]:
    """The rows of a request coded piece by piece, as one answer of ``/v1/predict``."""
    n, rows = wanted.size(), list[Any]()
    plan, first = plan_of(served, wanted), None
    for start in range(0, n, ROWS):
        some = wanted if wanted.text is not None else _piece(wanted, start)
        recipe, cells = cells_of(some, served.classifier.recipe, ROWS)
        part = part_of(some, recipe, cells)
        found = served.answer(usable(part), WAIT, calibrated=wanted.calibrated, learned=wanted.learned)
        first = respond(served, some, part, plan, found).model_dump()
        rows += first["rows"]
        progress(min(1.0, (start + ROWS) / n))
    return {"model": served.name, "version": served.version, "calibrated": wanted.calibrated, "notes": [],
            **(first or {}), "rows": rows}  # fmt: skip


def _piece(wanted: PredictRequest, start: int) -> PredictRequest:
    cut = {
        name: value[start : start + ROWS]
        for name in ("texts", "rows", "languages")
        if (value := getattr(wanted, name)) is not None
    }
    return wanted.model_copy(update=cut)


def given_tree(wanted: TaxonomyRequest) -> Taxonomy:
    """Raises TaxonomyError where the codes are no tree."""
    language = wanted.language
    return from_edges(
        [one.code for one in wanted.codes],
        [one.parent or None for one in wanted.codes],
        titles={language: {one.code: one.title for one in wanted.codes if one.title}},
        descriptions={language: {one.code: one.description for one in wanted.codes if one.description}},
        name=wanted.name,
    )


def models_for(service: Service, name: str, tree: Taxonomy) -> dict[str, Any]:
    """Models that code to the tree; where there is none, one that knows codes by their texts is put on it and served
    under the name until the service stops.

    Raises:
        ValueError: no model codes to it, and none can be put on it; the name is that of another model.
    """
    same = [served.name for served in service.board if served.classifier.taxonomy == tree]
    if same:
        return {"taxonomy": tree.hash, "models": same}
    if name in [served.name for served in service.board]:
        raise ValueError(f"name: a model that codes to another tree is called {name!r}: give another name")
    why = ""
    for served in service.board:
        try:
            moved = served.classifier.for_taxonomy(tree)
        except ValueError as error:
            why = str(error)
            continue
        folder = Path(tempfile.mkdtemp(prefix="hjc-taxonomy-")) / "model"  # not the name: it may be ".."
        moved.save_pretrained(folder)
        return {"taxonomy": tree.hash, "models": [service.board.add(name, folder).name]}
    raise ValueError(f"no served model codes to this tree, and none can be put on it: {why}")
