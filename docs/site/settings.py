"""The page of every setting, from the dataclasses: python docs/site/settings.py writes docs/reference/settings.md.

Defaults are those of the classes, meanings the ``#:`` comments above fields. A field without a meaning is an error.
"""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import hjc
from hjc.classifiers.lookup_settings import IndexSettings
from hjc.data.settings import SideSettings, SourceSettings
from hjc.nn.settings import SourceShare, TrainerSettings
from hjc.rerank.settings import ChatSettings
from hjc.training.settings import MODELS, Config, DataSettings, EvaluationSettings, SecondSettings, TaxonomySettings

PAGE = Path(__file__).resolve().parents[1] / "reference" / "settings.md"
#: prefix of the keys -> class, in the order of the page; model.* has one table a kind
SECTIONS: dict[str, type[Any]] = {
    "": Config,
    "taxonomy.": TaxonomySettings,
    "data.": DataSettings,
    "data.sources[].": SourceSettings,
    "data.side[].": SideSettings,
    "trainer.": TrainerSettings,
    "trainer.source_share[].": SourceShare,
    "evaluation.": EvaluationSettings,
    "lookup.": IndexSettings,
    "second.": SecondSettings,
    "model.chat.": ChatSettings,
}
#: kinds that a command makes of a finished model: nothing of them is set
MADE = frozenset(MODELS) - {
    kind for file in (Path(hjc.__file__).parent / "configs" / "model").glob("*.yaml")
    for kind in re.findall(r"\b(\w+)_schema\b", file.read_text(encoding="utf-8"))
}  # fmt: skip
HEAD = """# Every setting

Each key is typed: a misspelt one is refused, with the nearest that exists. In the shell a setting is `key=value`.

    hjc train model=linear model.C=3 data.languages=[en,pl]

In Python the last part of the key is a keyword: `hjc.train("ads.csv", model="linear", C=3, languages=["en", "pl"])`.
The files that set many of them at once (`model=e5`, `trainer=long`): [the groups](../../hjc/configs/README.md).
What they are for is said where they are used: [training](../training.md), [models](../models.md), [data](../data.md).

`null` is no value. `[]` is none, and where it says so, all. Defaults are those of the library. A file of a group may
set another: `python train.py --cfg job model=xlmr` shows what a run would have.

This page is made from the code (`python docs/site/settings.py`), and a test compares the two.
"""


def meanings(cls: type[Any]) -> dict[str, str]:
    """Field -> the ``#:`` comment above it, inherited ones too."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not is_dataclass(base):
            continue
        source = textwrap.dedent(inspect.getsource(base))
        lines = source.splitlines()
        (node,) = ast.parse(source).body
        assert isinstance(node, ast.ClassDef)
        for field in node.body:
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            above: list[str] = []
            at = field.lineno - 2
            while at >= 0 and lines[at].strip().startswith("#:"):
                above.insert(0, lines[at].strip().removeprefix("#:").strip())
                at -= 1
            if above:
                found[field.target.id] = " ".join(above)
    return found


def default(field: "Field[Any]") -> str:
    """As YAML has it."""
    value = field.default if field.default is not MISSING else field.default_factory()  # type: ignore[misc]
    if is_dataclass(value):
        return ""
    if value == "???":
        return "(to be given)"
    return json.dumps(value, ensure_ascii=False)


def rows(prefix: str, cls: type[Any]) -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning) of each field.

    Raises:
        ValueError: a field has no meaning.
    """
    said = meanings(cls)
    for field in fields(cls):
        meaning = said.get(field.name)
        if meaning is None and cls is SourceSettings and field.default is None:
            meaning = f"as `data.{field.name}` where it is null"
        if meaning is None:
            raise ValueError(f"{cls.__module__}.{cls.__name__}.{field.name} has no meaning: put a #: comment above it")
        yield f"{prefix}{field.name}", default(field), meaning


def table(prefix: str, cls: type[Any]) -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key, value, meaning in rows(prefix, cls):
        cell = meaning.replace("|", "\\|").replace("<", "&lt;")
        cell = re.sub(r"``(.+?)``", r"`\1`", cell)
        lines.append(f"| `{key}` | {f'`{value}`' if value else 'its own table'} | {cell} |")
    return "\n".join(lines)


def about(cls: type[Any]) -> str:
    """The first paragraph of a docstring."""
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def page() -> str:
    """The whole page."""
    tables = {prefix.rstrip(".") or "The run": (prefix, cls) for prefix, cls in SECTIONS.items()}
    tables |= {
        f"model, where model.name is {name}": ("model.", kind) for name, kind in MODELS.items() if name not in MADE
    }
    parts = [f"## {title}\n\n{about(cls)}\n\n{table(prefix, cls)}\n" for title, (prefix, cls) in tables.items()]
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
