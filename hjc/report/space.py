"""The section of a run report that shows where an embedding classifier places texts and codes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hjc.classifiers.base import Classifier
from hjc.data.jobdata import JobData
from hjc.evaluation.evaluate import Evaluation
from hjc.files import write_bytes
from hjc.report.embedding_map import embedding_map
from hjc.report.page import Block, Section, image_block
from hjc.report.plots import png

#: texts on the map: their vectors are computed once more
TEXTS = 600
FILE = "map.png"


def space_section(
    classifier: Classifier, sets: Mapping[str, tuple[Evaluation, JobData]], plots: Path, *, seed: int = 0
) -> Section | None:
    """A map of some rows of the first test set and all codes; None for classifiers without a space of their own.

    By t-SNE: it needs no extra, and a report is made by every run.
    """
    codes = classifier.category_vectors()
    if codes is None:
        return None
    name = next((n for n in sets if n != "valid"), next(iter(sets)))
    data = sets[name][1]
    rows = data.take(np.sort(np.random.default_rng(seed).permutation(len(data))[:TEXTS]))
    figure = embedding_map(
        classifier.taxonomy,
        classifier.text_vectors(rows.texts).rows,
        rows.gold,
        codes,
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
