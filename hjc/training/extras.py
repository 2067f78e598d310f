"""What a run needs beyond hjc's own requirements: said before any data is read, not after an hour."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from hjc.tables.options import SUFFIXES, inner_suffix
from hjc.training.settings import Config

#: back end of an index -> the module that it is
_INDEXES = {"usearch": "usearch", "faiss": "faiss"}

#: models that read no side variables
TEXT_ALONE = ("prototype", "biencoder", "joint", "retrieval")


def check_extras(config: Config) -> None:
    """Find the optional packages that the settings of a run ask for.

    Raises:
        ImportError: one is not installed; names the setting and what to install.
    """
    for setting, module, extra in _wanted(config):
        if not _there(module):
            raise ImportError(f'{setting} needs the package {module}: pip install "hjc[{extra}]"', name=module)


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # hidden, or half installed
        return False


def _wanted(config: Config) -> Iterator[tuple[str, str, str]]:
    """(setting, module, extra)"""
    model, data = config.model, config.data
    for logger in getattr(config.trainer, "loggers", ()):
        if logger in ("wandb", "tensorboard") and hasattr(model, "encoder"):
            yield f"trainer.loggers=[{logger}]", logger, logger
        if logger == "mlflow":  # which is told the results of models without curves, too
            yield f"trainer.loggers=[{logger}]", logger, logger
    if getattr(model, "lora_rank", 0):
        yield "model.lora_rank", "peft", "lora"
    if getattr(model, "stemming", ""):
        yield "model.stemming", "snowballstemmer", "stemming"
    if (index := _INDEXES.get(getattr(model, "index", ""))) is not None:
        yield f"model.index={index}", index, "ann"
    if getattr(model, "reranker", "") == "chat":
        yield "model.reranker=chat", "httpx", "llm"
        yield "model.reranker=chat", "jsonschema", "llm"
    if data.strip_html:
        yield "data.strip_html", "bs4", "prepare"
    for path in [] if data.sample else [source.path for source in data.all_sources()]:
        kind = data.format if data.format != "auto" else SUFFIXES.get(inner_suffix(path), "")
        if kind == "datasets" or Path(path).is_dir():
            yield path, "datasets", "datasets"
        elif kind in ("xlsx", "xls"):
            yield path, {"xlsx": "openpyxl", "xls": "xlrd"}[kind], "excel"


def check_side(config: Config) -> None:
    """Raises ValueError where side variables are given to a model that does not read any."""
    if config.data.side and config.model.name in TEXT_ALONE:
        raise ValueError(
            f"data.side: model={config.model.name} reads the text alone; leave data.side out, or choose a linear or "
            "neural model (a hybrid reads the side variables of its parts)"
        )
