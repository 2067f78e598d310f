"""Classifiers behind one contract (:mod:`hjc.classifiers.base`), found by name."""

import os
from dataclasses import asdict, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hjc.plugins import Registry

if TYPE_CHECKING:
    from hjc.classifiers.base import Classifier
    from hjc.taxonomy import Taxonomy

_EMBEDDING, _SETTINGS = "hjc.classifiers.embedding", "hjc.classifiers.embedding.settings"
#: name in config.json and in ``model.name`` -> module and class, module and class of its settings; imported on first
#: use, so that the linear baseline never imports torch. Settings are plain dataclasses and import nothing heavy
_OWN = {
    "neural": ("hjc.classifiers.neural", "NeuralClassifier", "hjc.nn.settings", "NeuralSettings"),
    "linear": ("hjc.classifiers.linear", "LinearClassifier", "hjc.classifiers.linear_settings", "LinearSettings"),
    "prototype": (f"{_EMBEDDING}.prototype", "PrototypeClassifier", _SETTINGS, "PrototypeSettings"),
    "biencoder": (f"{_EMBEDDING}.biencoder", "BiEncoderClassifier", _SETTINGS, "BiEncoderSettings"),
    "joint": (f"{_EMBEDDING}.joint", "JointEmbeddingClassifier", _SETTINGS, "JointSettings"),
    "retrieval": (f"{_EMBEDDING}.retrieval", "RetrieveAndRerankClassifier", _SETTINGS, "RetrievalSettings"),
    "ads": ("hjc.classifiers.ads", "AdsClassifier", "hjc.classifiers.ads_settings", "AdsSettings"),
    "hybrid": ("hjc.classifiers.hybrid", "HybridClassifier", _SETTINGS, "HybridSettings"),
    "lookup": ("hjc.classifiers.lookup", "LookupClassifier", "hjc.classifiers.lookup_settings", "LookupSettings"),
    "exported": ("hjc.classifiers.exported", "ExportedClassifier", "hjc.classifiers.exported", "ExportedSettings"),
    "exported_linear": (
        "hjc.classifiers.exported_linear",
        "ExportedLinear",
        "hjc.classifiers.linear_settings",
        "LinearSettings",
    ),
    "static": ("hjc.classifiers.static", "StaticClassifier", "hjc.classifiers.static", "StaticSettings"),
    "best": ("hjc.classifiers.best", "BestClassifier", _SETTINGS, "BestSettings"),
}
CLASSIFIERS = {name: found[:2] for name, found in _OWN.items()}
SETTINGS = {name: found[2:] for name, found in _OWN.items()}
REGISTRY = Registry("classifier", "hjc.classifiers", CLASSIFIERS)


def register_classifier(name: str, cls: "type[Classifier]", settings: type[Any] | None = None) -> None:
    """Make a classifier of one's own known in this process: ``model=NAME``, ``hjc.load``.

    An installed package declares it instead as an entry point of the group ``hjc.classifiers``, with ``settings_class``
    on the class.

    Args:
        cls: its ``name`` must be this one.
        settings: dataclass of its settings, with the fields ``name`` and ``hierarchy``; default ``cls.settings_class``.

    Raises:
        ValueError, TypeError: the name is taken or not that of the class, or the settings lack a field.
    """
    if settings is not None:
        cls.settings_class = settings
    _check(name, cls)
    REGISTRY.register(name, cls)


def _check(name: str, cls: Any) -> None:
    from hjc.classifiers.base import Classifier  # which reads parts by the registry

    if not (isinstance(cls, type) and issubclass(cls, Classifier)):
        raise TypeError(f"the classifier {name!r} must be a subclass of hjc.Classifier, got {cls!r}")
    if cls.name != name:
        raise ValueError(f"{cls.__name__}.name is {cls.name!r}, but it is registered as {name!r}: give both one name")
    settings = cls.settings_class
    if not is_dataclass(settings) or {"name", "hierarchy"} - {f.name for f in fields(settings)}:
        raise TypeError(f"the settings of {name!r} must be a dataclass with the fields name and hierarchy")


def classifier_class(name: str) -> "type[Classifier]":
    """The class registered under ``name``.

    Raises:
        ValueError: no such classifier. TypeError: a plugin's is no classifier. ImportError: it cannot be imported.
    """
    found: type[Classifier] = REGISTRY[name]
    if name not in CLASSIFIERS:
        _check(name, found)
    return found


def classifier_settings(name: str) -> type[Any]:
    """The dataclass of a classifier's settings; the classifiers of hjc are not imported for it.

    Raises:
        ValueError, TypeError, ImportError: as :func:`classifier_class`.
    """
    if name not in SETTINGS:
        return classifier_class(name).settings_class
    module, attribute = SETTINGS[name]
    found: type[Any] = getattr(import_module(module), attribute)
    return found


def stored_classifier(directory: str | os.PathLike[str]) -> str:
    """The registered name of the classifier in a model directory, before anything is imported for it.

    Raises:
        FileNotFoundError, ModelDirError: there is no model directory, or its classifier is not in the registry.
    """
    from hjc.classifiers.storage import CONFIG, ModelDirError, read_config

    name = str(read_config(directory)["classifier"])
    if name not in REGISTRY:
        raise ModelDirError(
            f"{Path(directory) / CONFIG}: there is no classifier {name!r}, known are {', '.join(sorted(REGISTRY))}; "
            f"{REGISTRY.absent(name)}"
        )
    return name


def read_classifier(directory: str | os.PathLike[str]) -> "Classifier":
    """The classifier of a model directory as it was saved, without a calibration that lies beside it (``hjc.load``).

    Raises:
        FileNotFoundError, ModelDirError: as :func:`stored_classifier`; files are missing, truncated or altered.
    """
    return classifier_class(stored_classifier(directory)).from_pretrained(Path(directory))


def build(taxonomy: "Taxonomy", model: Any, trainer: Any = None, lookup: Any = None) -> "Classifier":
    """An unfitted classifier from its settings dataclass; ``model.name`` says which one.

    Args:
        model: NeuralSettings, LinearSettings ...
        trainer: TrainerSettings, for classifiers that take them (``takes_trainer``).
        lookup: IndexSettings of the index that stands before it, where ``model.before`` is "lookup".

    Raises:
        ValueError: ``model.before`` is something else.
    """
    cls: Any = classifier_class(model.name)
    found: Classifier = cls(taxonomy, model, trainer) if cls.takes_trainer else cls(taxonomy, model)
    if not (before := getattr(model, "before", "")):
        return found
    from hjc.classifiers.lookup_settings import BEFORE, LookupSettings
    from hjc.errors import check_choice

    check_choice("model.before", before, BEFORE)
    settings = LookupSettings() if lookup is None else LookupSettings(**asdict(lookup))
    return classifier_class("lookup")(taxonomy, settings, found)  # type: ignore[call-arg]
