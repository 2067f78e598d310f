"""Which tables a folder or a pattern stands for, and the name of the output of each."""

import glob
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hjc.errors import name_some
from hjc.tables.options import COMPRESSED, FORMATS, SUFFIXES, format_of, inner_suffix

#: endings of files that are taken from a folder: those that say what they are (notes may be .txt, settings .json)
TAKEN = frozenset(ending for ending, kind in SUFFIXES.items() if kind in FORMATS) - {".txt", ".json"}
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Input:
    """A table that is to be coded.

    Attributes:
        name: where it lies below what was given, with /; names it in the manifest.
        path: the file. output: where its output lies below the output's folder. kind: format of the output.
    """

    name: str
    path: str
    output: str
    kind: str

    def stamp(self) -> list[int]:
        """Size in bytes and time of the last change (nanoseconds)."""
        state = os.stat(self.path)
        return [state.st_size, state.st_mtime_ns]


def is_many(source: str) -> bool:
    """Whether a source stands for several tables: a folder (other than a saved data set), or a pattern."""
    path = Path(source)
    if path.is_dir():
        return not any((path / name).exists() for name in ("dataset_info.json", "dataset_dict.json"))
    return source != "-" and not path.exists() and _WILD.search(source) is not None


def find_inputs(
    source: str, output: str, *, input_format: str | None = None, output_format: str | None = None
) -> tuple[list[Input], list[str]]:
    """The tables below a folder, or of a pattern (``ads/year=*/*.parquet``, ``**`` for any depth), and the names of the
    files that were left out of it.

    Hidden files and those that begin with ``_`` (Spark's ``_SUCCESS``) are neither. An output has its input's format,
    unless another is asked for.

    Raises:
        FileNotFoundError: there is no table. ValueError: the output lies among the inputs, two inputs would become one
            output, or a name does not tell the format.
    """
    pattern = not Path(source).is_dir()
    root = Path(re.split(r"[^/\\]*[*?\[]", source, maxsplit=1)[0] or ".") if pattern else Path(source)
    matched = [Path(p) for p in glob.glob(source, recursive=True)] if pattern else [root]
    files = {p: True for p in matched if p.is_file()}  # named by the pattern itself
    for folder in (p for p in matched if p.is_dir()):
        files |= {p: p in files for p in folder.rglob("*") if p.is_file()}
    target, taken, left = Path(output).resolve(), list[Path](), list[str]()
    for path, named in sorted(files.items()):
        parts = path.relative_to(root).parts
        if any(part.startswith((".", "_")) for part in parts):
            continue
        if target in path.resolve().parents:
            raise ValueError(f"the output folder {output} has the input {path} in it; give another one with -o")
        if named or input_format or inner_suffix(path) in TAKEN:
            taken.append(path)
        else:
            left.append("/".join(parts))
    if not taken:
        found = f"; it has {name_some(left)}" if left else ""
        raise FileNotFoundError(f"no tables in {source}{found}; tables end in {', '.join(sorted(TAKEN))}")
    if not pattern and (target == root.resolve() or root.resolve() in target.parents):
        raise ValueError(f"the output folder {output} lies in the input folder {source}; give another one with -o")
    inputs = [_input(path, root, input_format, output_format) for path in taken]
    shared, times = Counter(i.output for i in inputs).most_common(1)[0]
    if times > 1:
        twice = name_some(i.name for i in inputs if i.output == shared)
        raise ValueError(f"{twice} would have one output, {shared}; code them one after the other")
    return inputs, left


def one_input(source: str, output: str, input_format: str | None, output_format: str | None) -> Input:
    """A single table as an input. Raises ValueError where it is a stream, FileNotFoundError where it is not there."""
    if "-" in (source, output):
        raise ValueError("--workers, --engine and --resume need files, not standard input or output")
    if not Path(source).is_file():
        raise FileNotFoundError(f"no such file: {source}")
    format_of(source, input_format, option="--input-format")
    return Input(Path(source).name, source, Path(output).name, format_of(output, output_format, writing=True))


def _input(path: Path, root: Path, input_format: str | None, output_format: str | None) -> Input:
    kind = format_of(path, input_format, option="--input-format")
    written = output_format or (kind if kind in FORMATS else "csv")
    name, base, outer = path.relative_to(root).as_posix(), path.relative_to(root), ""
    while base.suffix.lower() in (*COMPRESSED, ".zip", *SUFFIXES):
        if base.suffix.lower() in COMPRESSED:
            outer = base.suffix
        base = base.with_suffix("")
    if written == kind and not name.lower().endswith(".zip"):
        return Input(name, str(path), name, written)
    return Input(
        name, str(path), f"{base.as_posix()}.{written}{outer if written in ('csv', 'tsv', 'jsonl') else ''}", written
    )
