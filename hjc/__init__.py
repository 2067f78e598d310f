"""Hierarchical job classification: code job ads to a tree of occupations, with coherent probabilities at every level.

    run = hjc.train("ads.csv", text=["title", "description"], code="isco", model="linear")
    model = hjc.load(run.directory)
    model.predict(["registered nurse, night shifts"], top_k=3)

Importing ``hjc`` is light: its names are imported when they are first asked for.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hjc.errors import NotFittedError, TaxonomyError

try:
    __version__ = version("hjc")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

#: name -> module that defines it, imported on first use
_LAZY = {
    "Classifier": "hjc.classifiers.base",
    "Evaluation": "hjc.evaluation",
    "HierarchicalClassifier": "hjc.sklearn",
    "JobClassifier": "hjc.apply.job_classifier",
    "JobData": "hjc.data",
    "LinearClassifier": "hjc.classifiers.linear",
    "NeuralClassifier": "hjc.classifiers.neural",
    "Taxonomy": "hjc.taxonomy",
    "TextRecipe": "hjc.data",
    "compose": "hjc.training.config",
    "evaluate_model": "hjc.evaluation",
    "load": "hjc.classifiers.load",
    "map_batches": "hjc.apply.arrow",
    "named": "hjc.classifiers.keywords",
    "push_to_hub": "hjc.report.hub",
    "register_classifier": "hjc.classifiers",
    "register_head": "hjc.nn.settings",
    "train": "hjc.training.python",
}

__all__ = ["NotFittedError", "TaxonomyError", "__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in ("mlflow", "sklearn", "spark", "taxonomy"):  # `import hjc; hjc.taxonomy.isco08()`
        return import_module(f"hjc.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'hjc' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
