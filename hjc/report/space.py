"""The section of a run report that shows where an embedding classifier places texts and codes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hjc.arrays import Float32
from hjc.data.jobdata import JobData
from hjc.evaluation.evaluate import Evaluation
from hjc.files import write_bytes
from hjc.report.embedding_map import embedding_map
from hjc.report.page import Block, Section, image_block
from hjc.report.plots import png

#: texts on the map: their vectors are computed once more
TEXTS = 600
FILE = "map.png"


@runtime_checkable
class Spatial(Protocol):
    """A classifier with texts and codes in one space."""

    def vectors(self, texts: Any, *, progress: bool = True) -> Float32: ...

    def category_vectors(self) -> Float32: ...


def space_section(
    classifier: Any, sets: Mapping[str, tuple[Evaluation, JobData]], plots: Path, *, seed: int = 0
) -> Section | None:
    """A map of some rows of the first test set and all codes; None for classifiers without a space of their own.

    By t-SNE: it needs no extra, and a report is made by every run.
    """
    if not isinstance(classifier, Spatial):
        return None
    name = next((n for n in sets if n != "valid"), next(iter(sets)))
    data = sets[name][1]
    rows = data.take(np.sort(np.random.default_rng(seed).permutation(len(data))[:TEXTS]))
    figure = embedding_map(
        classifier.taxonomy,  # type: ignore[attr-defined]
        classifier.vectors(rows.texts, progress=False),
        rows.gold,
        classifier.category_vectors(),
        method="tsne",
        seed=seed,
    )
    image = png(figure)
    plots.mkdir(parents=True, exist_ok=True)
    write_bytes(plots / FILE, image)
    section = Section("The space")
    section.blocks.append(
        image_block(
            f"{len(rows):,} texts of {name} and all codes",
            image,
            "Texts and codes in two dimensions, coloured by the code of level 1",
            "Small points are texts in the colour of their gold code, outlined ones are codes. What lies near in the "
            "space lies near here; distances between far groups mean little.",
        )
    )
    section.blocks.append(Block(text="Maps of more texts, or by UMAP: hjc.report.embedding_map."))
    return section
