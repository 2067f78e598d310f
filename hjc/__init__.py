"""Hierarchical job classification: code job ads to a tree of occupations, with coherent probabilities at every level.

    run = hjc.train("ads.csv", text=["title", "description"], code="isco", model="linear")
    model = hjc.load(run.directory)
    model.predict(["registered nurse, night shifts"], top_k=3)

Importing ``hjc`` is light: its names are imported when they are first asked for.
"""

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hjc.errors import NotFittedError, TaxonomyError
from hjc.plugins.lazy import lazy

# Threads that wait for each other spin for milliseconds (GNU OpenMP, which reads this when torch is loaded). Where more
# processes want the cores, a run of two threads was several times slower for it. So many turns are microseconds.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

try:
    __version__ = version("hjc")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

#: module -> names of the package that it defines, imported on first use
_MODULES = {
    "hjc.apply.arrow": ("map_batches",),
    "hjc.apply.job_classifier": ("JobClassifier",),
    "hjc.classifiers": ("register_classifier",),
    "hjc.classifiers.base": ("Classifier",),
    "hjc.classifiers.keywords": ("named",),
    "hjc.classifiers.linear": ("LinearClassifier",),
    "hjc.classifiers.load": ("load",),
    "hjc.classifiers.neural": ("NeuralClassifier",),
    "hjc.data": ("JobData", "TextRecipe"),
    "hjc.evaluation": ("Evaluation", "evaluate_model"),
    "hjc.nn.settings": ("register_head",),
    "hjc.report.hub": ("push_to_hub",),
    "hjc.sklearn": ("HierarchicalClassifier",),
    "hjc.taxonomy": ("Taxonomy",),
    "hjc.training.config": ("compose",),
    "hjc.training.python": ("train",),
}

__all__ = ["NotFittedError", "TaxonomyError", "__version__", *sorted(name for own in _MODULES.values() for name in own)]

_defined = lazy(__name__, _MODULES)


def __getattr__(name: str) -> Any:
    if name in ("mlflow", "sklearn", "spark", "taxonomy"):  # `import hjc; hjc.taxonomy.isco08()`
        return import_module(f"hjc.{name}")
    return _defined(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
