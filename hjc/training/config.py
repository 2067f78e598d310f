"""Typed configuration: dataclasses in the ConfigStore, and Hydra's errors turned into one clear message.

``hydra`` and ``omegaconf`` are imported here and nowhere else in the library: every classifier is built from the
dataclasses alone.
"""

import csv
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hjc.classifiers import REGISTRY, classifier_settings
from hjc.data.settings import SourceSettings
from hjc.errors import nearest
from hjc.nn.settings import HEADS
from hjc.training.settings import EXTRA_GROUPS, MODELS, SECTIONS
from hjc.training.settings import Config as Config
from hjc.training.settings import ConfigError as ConfigError
from hjc.training.settings import EvaluationSettings as EvaluationSettings
from hjc.training.settings import TaxonomySettings as TaxonomySettings

#: where the YAML files are, also in an installed wheel
CONFIG_PATH = "pkg://hjc.configs"
CONFIG_NAME = "train"
#: options of ``hjc train`` and ``train.py`` beside Hydra's, and the setting that each stands for
OPTIONS = {"--verbose": "output=tables", "--quiet": "output=none", "-q": "output=none", "--json": "output=json"}


def _slug(value: str) -> str:
    """The last part of a hub name or a path: ``intfloat/multilingual-e5-small`` -> ``multilingual-e5-small``."""
    return re.sub(r"[^\w.-]+", "-", str(value).replace("\\", "/").rstrip("/").split("/")[-1]) or "run"


def _dirname(value: str) -> str:
    """Overrides as a directory name: no separators, and short enough for every file system."""
    return re.sub(r"[^\w.,=+-]+", "-", str(value))[:120].strip("-.,") or "job"


def _run_name(model: str, encoder: str, hierarchy: str) -> str:
    """``multilingual-e5-small_topdown`` of a neural model, ``linear_topdown``, ``biencoder_multilingual-e5-small``."""
    if model == "neural":
        return f"{_slug(encoder)}_{hierarchy}"
    return f"{model}_{_slug(encoder)}" if encoder else f"{model}_{hierarchy}"


def _default_hierarchy(name: str) -> str:
    """How the probabilities of a kind of model chain when nothing is chosen: the default of its settings."""
    return str(next(f.default for f in fields(classifier_settings(name)) if f.name == "hierarchy"))


def register() -> None:
    """Put the schemas into Hydra's ConfigStore."""
    store = ConfigStore.instance()
    store.store(name="config_schema", node=Config)
    for name, settings in MODELS.items():
        store.store(group="model", name=f"{name}_schema", node=settings)
    resolvers: dict[str, Callable[..., str]] = {
        "slug": _slug,
        "dirname": _dirname,
        "run_name": _run_name,
        "hierarchy": _default_hierarchy,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(f"hjc.{name}", resolver, replace=True)


register()


class _Later(ConfigNode):
    """The settings of a plugin's classifier in Hydra's store: the plugin is imported when Hydra asks for them."""

    def __init__(self, name: str) -> None:
        self.classifier = name
        self.name, self.group, self.package, self.provider = f"{name}.yaml", "model", None, None

    @property
    def node(self) -> DictConfig:
        try:
            return OmegaConf.structured(classifier_settings(self.classifier))
        except (TypeError, ValueError, ImportError) as error:
            raise ConfigError(str(error)) from error

    @node.setter
    def node(self, value: DictConfig) -> None:
        """Hydra puts a copy into its copy of this object: :attr:`node` makes a new one each time."""


def offer_plugins() -> None:
    """``hierarchy=NAME`` and ``model=NAME`` for the heads and classifiers that packages outside hjc have.

    A YAML file of the same name comes first; one for a plugin's classifier has ``NAME_schema`` in its defaults.
    """
    store = ConfigStore.instance()
    for name in HEADS.outside():
        store.store(group="hierarchy", name=name, node={"hierarchy": name}, package="model")
    for name in REGISTRY.outside():
        store.repo["model"] |= {f"{name}{kind}.yaml": _Later(name) for kind in ("", "_schema")}


def to_config(cfg: DictConfig) -> Config:
    """The typed dataclasses of a composed configuration, interpolations resolved.

    Raises:
        ConfigError: a value is missing or outside its allowed range.
    """
    try:
        if OmegaConf.get_type(cfg) is not Config:  # Hydra's own dump of a run, as the extra processes of DDP read it
            schema = OmegaConf.structured(Config)
            schema.model = OmegaConf.structured(classifier_settings(cfg.model.name))
            cfg = OmegaConf.merge(schema, cfg)  # type: ignore[assignment]
        config = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as e:
        raise ConfigError(explain(e)) from e
    except AttributeError as e:  # the slots of a dataclass refuse what +section.key=1 has added
        m = re.match(r"'(\w+)' object has no attribute '(\w+)'", str(e))  # Python 3.13 says more behind it
        owner = {c.__name__: f"{name}." for name, classes in SECTIONS.items() for c in classes} | {"Config": ""}
        if m is None or m[1] not in owner:
            raise
        raise ConfigError(_unknown_key(owner[m[1]] + m[2])) from e
    except ValueError as e:  # a dataclass refused a value and says why
        raise ConfigError(str(e)) from e
    assert isinstance(config, Config)
    return config


def stored_config(values: Mapping[str, Any]) -> Config:
    """The configuration that a train.yaml keeps under ``config``, to train such a model again.

    Raises:
        ConfigError: it is not one of this hjc.
    """
    return to_config(OmegaConf.create(dict(values)))


def compose(overrides: Sequence[str] = (), config_name: str = CONFIG_NAME) -> Config:
    """The configuration that ``train.py OVERRIDES`` would run, without running it (searches, notebooks, tests).

    Raises:
        ConfigError: unknown group, option or key, or a value of the wrong type; names the nearest valid one.
    """
    offer_plugins()
    try:
        if GlobalHydra.instance().is_initialized():  # inside train.py: its search path is ours
            return to_config(hydra.compose(config_name, overrides=[*map(as_list, overrides)]))
        with hydra.initialize_config_module("hjc.configs", version_base="1.3"):
            return to_config(hydra.compose(config_name, overrides=[*map(as_list, overrides)]))
    except (HydraException, OmegaConfBaseException) as e:
        raise ConfigError(explain(e)) from e


def run(task: Callable[[Config], float | None], arguments: Sequence[str] | None = None) -> None:
    """The body of ``train.py`` and of ``hjc train``: compose the command line and run ``task``, or sweep with ``-m``.

    ``task`` gets the typed configuration with ``run_dir`` set to the directory of this run (in a sweep: of this job)
    and returns the validation log-loss. A mistake in the configuration or the data ends the program with one message
    and exit status 2; any other error keeps its stack trace. HYDRA_FULL_ERROR=1 shows the stack trace of every error.
    """
    given = sys.argv[1:] if arguments is None else arguments
    sys.argv = [sys.argv[0], *(quoted(OPTIONS.get(argument, argument)) for argument in given)]
    offer_plugins()
    debug = os.environ.get("HYDRA_FULL_ERROR") == "1"

    def job(cfg: DictConfig) -> float | None:
        node = HydraConfig.get()
        try:
            config = to_config(cfg)
            output = Path(node.runtime.output_dir)
            config.run_dir = str(output.relative_to(Path.cwd()) if output.is_relative_to(Path.cwd()) else output)
            value = task(config)
            if node.mode == RunMode.MULTIRUN:
                _note_job(node, config.run_dir, value)
            return value
        except Exception as e:
            if node.mode == RunMode.MULTIRUN:  # the other jobs go on; Hydra raises the first failure at the end
                _note_job(node, node.runtime.output_dir, None, f"{type(e).__name__}: {e}")
                raise
            if debug or not isinstance(e, ConfigError):
                raise
            raise SystemExit(_fail(e)) from e

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of to Hydra's printer
    try:
        hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name=CONFIG_NAME)(job)()
    except (ConfigError, HydraException, OmegaConfBaseException) as e:
        if debug:
            raise
        raise SystemExit(_fail(e)) from e
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    finally:
        if not debug:
            del os.environ["HYDRA_FULL_ERROR"]


def as_list(argument: str) -> str:
    """One value of a setting that is a list, as a list: ``data.files=ads.csv`` is ``data.files=[ads.csv]``.

    What has commas is left to Hydra, where it is a sweep.

    >>> as_list("data.files=ads.csv"), as_list("seed=1"), as_list("data.languages=en,pl")
    ('data.files=[ads.csv]', 'seed=1', 'data.languages=en,pl')
    """
    key, equals, value = argument.partition("=")
    section, _, name = key.partition(".")
    kinds = [str(f.type) for cls in SECTIONS.get(section, ()) for f in fields(cls) if f.name == name]
    single = value and value[0] not in "[{$" and "," not in value and value != "null"
    return f"{key}=[{value}]" if equals and single and kinds and all("list[" in kind for kind in kinds) else argument


def quoted(argument: str) -> str:
    """An override that Hydra's grammar cannot read, with quotes around its values where that is what it lacks.

    ``data.files=[ogłoszenia.csv]`` and ``data.files=[my ads (2).csv]`` are read as ``data.files=['my ads (2).csv']``.
    What Hydra reads already, or cannot read either way, stays as it is.
    """

    def reads(text: str) -> bool:
        try:
            OverridesParser.create().parse_override(text)
        except HydraException:
            return False
        return True

    argument = as_list(argument)
    key, equals, value = argument.partition("=")
    files = value[1:-1].strip() if value.startswith("[") and "{" not in value else ""
    if key == "data.sources" and files:  # without further settings
        return f"{key}={written([{'path': part.strip()} for part in files.split(',')])}"
    inside = value.startswith("[") and value.endswith("]")
    if not equals or key.startswith("-") or (value[:1] in ("[", "{") and not inside) or reads(argument):
        return argument
    parts = [part.strip() for part in (value[1:-1] if inside else value).split(",")]
    texts = [part if part[:1] in ("'", '"') else "'" + part.replace("\\", "\\\\").replace("'", "\\'") + "'"
             for part in parts]  # fmt: skip
    joined = f"{key}=[{','.join(texts)}]" if inside else f"{key}={','.join(texts)}"
    return joined if reads(joined) else argument


def written(value: Any) -> str:
    """A Python value in the grammar of Hydra's overrides.

    >>> written(["my ads (2).csv", None, True, 0.1, {"path": "a'b"}])
    "['my ads (2).csv',null,true,0.1,{path:'a\\\\'b'}]"
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (str, Path)):
        return QuotedString(text=str(value), quote=Quote.single).with_quotes()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(written, value)) + "]"
    return str(value)


def _note_job(node: Any, run_dir: str, value: float | None, error: str = "") -> None:
    """Append one line to the sweep's results.csv, so that it can be read while the sweep goes on."""
    path = Path(node.sweep.dir) / "results.csv"
    fresh = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        if fresh:
            writer.writerow(["job", "overrides", "valid_log_loss", "run_dir", "error"])
        overrides = " ".join(node.overrides.task)
        writer.writerow([node.job.num, overrides, "" if value is None else value, run_dir, error])


def _fail(error: Exception) -> int:
    print(f"error: {error if isinstance(error, ConfigError) else explain(error)}", file=sys.stderr)
    return 2


# ---------------------------------------------------------------------------------------------- messages


def explain(error: Exception) -> str:
    """One message for a failed composition: what was got, the nearest valid name, what is available."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        options = [o for o in error.options or [] if not o.endswith("_schema")]
        if group and options:
            return f"{group}={option}: there is no {group} named {option!r}{nearest(option, options)}"
    text = "\n".join(str(e) for e in (error, error.__cause__) if e is not None)
    full_key = re.search(r"full_key: (\S+)", text)
    if (m := re.search(r"Key '([^']+)' not in 'SourceSettings'", text)) is not None:
        return _unknown_key(f"data.sources.{m[1]}")
    if full_key and re.search(r"Key '([^']+)' (?:is )?not in", text):
        return _unknown_key(full_key[1])
    refused = r"Could not (?:(?:override|append value to config|delete)[^']*'([^']+)'|append override '\+*([^'=]+)=)"
    if m := re.search(refused, text):
        return _unknown_key((m[1] or m[2]).partition("@")[0])
    if full_key:
        first = str(error.__cause__ or error).splitlines()[0]
        if "is not a ListConfig, list or tuple" in first:
            first = f"this setting is a list; write {full_key[1]}=[value] or {full_key[1]}=[value,value]"
        return f"{full_key[1]}: {first}"
    if "rror parsing override" in text or "missing EQUAL" in text:
        return f"{text.splitlines()[0]}\nwrite key=value or group=option, for example model=e5 trainer.epochs=3"
    return text.split("\nSet the environment variable")[0].strip()


def _unknown_key(key: str) -> str:
    """``trainer.lerning_rate`` -> did you mean ``trainer.learning_rate``; also a misspelt section or group."""
    section, _, leaf = key.lstrip("+~").rpartition(".")
    if section.startswith("data.sources"):
        return f"{key}: a source has no setting {leaf!r}{nearest(leaf, {f.name for f in fields(SourceSettings)})}"
    if key.startswith("hydra."):
        return f"{key}: Hydra has no such setting; `python train.py --cfg hydra` lists them"
    if section and section not in SECTIONS:
        return f"{key}: there is no section {section!r}{nearest(section, SECTIONS)}"
    options = _keys(section) if section else {f.name for f in fields(Config)} | set(EXTRA_GROUPS)
    missing = f"{section} has no setting {leaf!r}" if section else f"there is no setting {leaf!r} at the top"
    elsewhere = {name: f"{other}.{name}" for other in SECTIONS if other != section for name in _keys(other)}
    if leaf in elsewhere and not (section and get_close_matches(leaf, options, n=1, cutoff=0.8)):
        return f"{key}: {missing} (did you mean {elsewhere[leaf]}?)"
    if section == "model" and leaf in options:  # a setting of another model, e.g. model=linear model.encoder=...
        owner = [name for name, cls in MODELS.items() if leaf in {f.name for f in fields(cls)}]
        return f"{key}: {leaf!r} is a setting of {', '.join(owner)} models only; the chosen model is of another kind"
    if section:
        return f"{key}: {missing}{nearest(leaf, options, section + '.')}"
    near = get_close_matches(leaf, elsewhere, n=1, cutoff=0.7)
    if near and not get_close_matches(leaf, options, n=1, cutoff=0.5):
        return f"{leaf}: {missing} (did you mean {elsewhere[near[0]]}?)"
    return f"{leaf}: there is no setting or group {leaf!r}{nearest(leaf, options)}"


def _keys(section: str) -> set[str]:
    return {f.name for cls in SECTIONS[section] for f in fields(cls)}
