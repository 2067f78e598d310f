"""Classifiers from keywords and from the names of ``model=``: ``LinearClassifier(tree, C=10)``, ``preset("e5")``.

The YAML files of the configurations are read here as plain data, so that a name means the same in Python and in the
shell, and Hydra is not needed for it.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from hjc.classifiers import REGISTRY, build, classifier_class, classifier_settings
from hjc.errors import nearest
from hjc.nn.settings import TrainerSettings

if TYPE_CHECKING:
    from hjc.classifiers.base import Classifier
    from hjc.taxonomy import Taxonomy

S = TypeVar("S")


def preset_names() -> list[str]:
    """What ``model=`` takes: the configurations of hjc, and the classifiers of plugins."""
    own = [path.name.removesuffix(".yaml") for path in files("hjc").joinpath("configs", "model").iterdir()]
    return sorted({*own, *REGISTRY.outside()})


def preset(name: str) -> tuple[str, dict[str, Any]]:
    """The classifier behind a name of ``model=`` and its settings.

    >>> preset("e5")
    ('neural', {'encoder': 'intfloat/multilingual-e5-small', 'pooling': 'mean', 'prefix': 'query: '})

    Raises:
        ValueError: there is no such name.
    """
    path = files("hjc").joinpath("configs", "model", f"{name}.yaml")
    if name not in preset_names():
        raise ValueError(f"there is no model named {name!r}{nearest(name, preset_names())}")
    if not path.is_file():
        return name, {}
    import yaml  # a stored model does without

    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    schema = next(entry for entry in values.pop("defaults") if str(entry).endswith("_schema"))
    plain = {key: value for key, value in values.items() if "${" not in str(value)}
    return str(schema).removesuffix("_schema"), plain


def named(taxonomy: "Taxonomy", name: str, **keywords: Any) -> "Classifier":
    """An unfitted classifier by its name of ``model=``, with single settings of the model and of its training.

    >>> from hjc.taxonomy import isco08
    >>> named(isco08(), "linear", hierarchy="bottomup", C=10)
    LinearClassifier(bottomup, isco08: 436 codes, 4 levels, not fitted)

    Raises:
        ValueError: no such name, or a value that is not allowed. TypeError: no such setting; names the nearest.
    """
    kind, values = preset(name)
    cls, settings = classifier_class(kind), classifier_settings(kind)
    trained = TrainerSettings() if cls.takes_trainer else None
    model, trainer = _split(cls, settings, None, trained, {**values, **keywords})
    return build(taxonomy, model, trainer)


def from_keywords(owner: type, kind: type[S], settings: S | None, keywords: Mapping[str, Any]) -> S:
    """Settings with single ones of them given as keywords.

    Raises:
        TypeError: there is no such setting; names the nearest. ValueError: a value is not allowed.
    """
    return _split(owner, kind, settings, None, keywords)[0]


def with_trainer(
    owner: type, kind: type[S], settings: S | None, trainer: TrainerSettings | None, keywords: Mapping[str, Any]
) -> tuple[S, TrainerSettings]:
    """As :func:`from_keywords`, for classifiers that are told how they are trained, too."""
    model, fitted = _split(owner, kind, settings, trainer or TrainerSettings(), keywords)
    assert fitted is not None
    return model, fitted


def _split(
    owner: type, kind: type[S], settings: S | None, trainer: TrainerSettings | None, keywords: Mapping[str, Any]
) -> tuple[S, TrainerSettings | None]:
    own = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    training = set() if trainer is None else {f.name for f in fields(trainer)}
    for name in keywords:
        if name not in own | training:
            raise TypeError(f"{owner.__name__} has no setting {name!r}{nearest(name, own | training)}")
    model = {name: value for name, value in keywords.items() if name in own}
    if "encoder" in model and model["encoder"] in preset_names():
        brought = preset(model["encoder"])[1]
        found = {name: value for name, value in brought.items() if name in own}
        model = {**found, **model, "encoder": brought.get("encoder", model["encoder"])}
    fit = {name: value for name, value in keywords.items() if name in training}
    base = kind() if settings is None and not model else settings
    made = kind(**model) if base is None else replace(base, **model) if model else base  # type: ignore[type-var]
    return made, replace(trainer, **fit) if trainer is not None and fit else trainer
