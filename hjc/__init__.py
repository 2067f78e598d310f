"""Hierarchical job classification: code job ads to a tree of occupations, with coherent probabilities at every level.

Importing ``hjc`` is light: its names are imported when they are first asked for. The evaluation
function lives in the module of its name: ``from hjc.evaluation import evaluate_model``.
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
    "JobClassifier": "hjc.apply.job_classifier",
    "JobData": "hjc.data",
    "Taxonomy": "hjc.taxonomy",
    "load": "hjc.classifiers.load",
    "register_classifier": "hjc.classifiers",
    "register_head": "hjc.nn.settings",
}

__all__ = ["NotFittedError", "TaxonomyError", "__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    if name == "taxonomy":  # `import hjc; hjc.taxonomy.isco08()`
        return import_module("hjc.taxonomy")
    if name not in _LAZY:
        raise AttributeError(f"module 'hjc' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
