"""The options that commands share, spelt once; those that go together are dataclasses (see :func:`session.add`)."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hjc.cli.completion import run_directories

if TYPE_CHECKING:
    from hjc.classifiers.base import Classifier
    from hjc.rerank.settings import ChatSettings
    from hjc.tables.options import ReadOptions
    from hjc.taxonomy import Taxonomy as Tree

# ---------------------------------------------------------------------------------------------- arguments

RunDir = Annotated[
    str,
    typer.Argument(
        help="Model directory, as train.py wrote it; or org/name of a model hub.", autocompletion=run_directories
    ),
]
SourceOrNone = Annotated[
    str | None,
    typer.Argument(metavar="INPUT", help="CSV, TSV, Parquet, JSON or Excel file (.gz too), a folder of them, or -."),
]
Source = Annotated[str, typer.Argument(metavar="INPUT", help="CSV, TSV, Parquet, JSON or Excel file (.gz too), or -.")]

# ---------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a table is read: the same options for every command that reads one."""

    input_format: Annotated[
        str | None, typer.Option(help="Format of the input: csv, tsv, parquet, jsonl, xlsx (by its name; csv for -).")
    ] = None
    separator: Annotated[str | None, typer.Option(help="Separator of a CSV input, or tab (found out).")] = None
    encoding: Annotated[str | None, typer.Option(help="Encoding of a text input, e.g. cp1250 (utf-8).")] = None
    sheet: Annotated[str | None, typer.Option(help="Sheet of a workbook (the first).")] = None

    def of(self, path: str) -> "ReadOptions":
        """For :func:`hjc.tables.open_table`. Raises ValueError where nothing tells the format."""
        from hjc.tables import ReadOptions, format_of

        kind = format_of(path, self.input_format, option="--input-format")
        return ReadOptions.given(format=kind, separator=self.separator, encoding=self.encoding, sheet=self.sheet)

    def of_other(self, path: str, sheet: str | None) -> "Reading":
        """For a second table beside the input: its format goes by its name, and its encoding is UTF-8 where it can be.

        Text of another encoding is hardly ever valid UTF-8, which is what hjc itself writes.
        """
        from hjc.tables.options import SUFFIXES, inner_suffix

        named = inner_suffix(path) in SUFFIXES
        encoding = None if self.encoding is None or _is_utf8(path) else self.encoding
        return replace(self, input_format=None if named else self.input_format, encoding=encoding, sheet=sheet)

    def of_desk(self, path: str, sheet: str) -> "Reading":
        """The same where ``path`` is a desk's store, of which this sheet is meant where none is named."""
        from hjc.tables.options import SUFFIXES, inner_suffix

        kind = self.input_format or SUFFIXES.get(inner_suffix(path))
        return replace(self, sheet=sheet) if kind == "desk" and self.sheet is None else self

    def settings(self) -> dict[str, Any]:
        """As settings of the data say it."""
        given = {"separator": self.separator, "encoding": self.encoding, "sheet": self.sheet}
        return {"format": self.input_format or "auto", **{name: text for name, text in given.items() if text}}


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How a table is written: the same options for every command that writes one."""

    format: Annotated[str | None, typer.Option(help="Output: csv, tsv, parquet, jsonl, xlsx (by the name of OUT).")] = (
        None
    )
    safe_cells: Annotated[
        bool, typer.Option("--safe-cells", help="CSV: ' before cells that a spreadsheet takes for formulas.")
    ] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")] = False
    json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False

    def __post_init__(self) -> None:
        if self.json and self.format not in (None, "jsonl"):
            raise ValueError(f"--json and --format {self.format} exclude each other")
        if self.json:
            object.__setattr__(self, "format", "jsonl")

    def settings(self) -> dict[str, Any]:
        """As functions take them."""
        return {"format": self.format, "safe_cells": self.safe_cells, "overwrite": self.overwrite}


Output = Annotated[str, typer.Option("-o", "--output", metavar="OUT", help="File to write, or - .")]
OutputFile = Annotated[str, typer.Option("-o", "--output", metavar="OUT", help="File to write.")]
OutputFolder = Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Folder for the tables.")]
FolderOrNone = Annotated[
    str | None, typer.Option("-o", "--output", metavar="DIR", help="Folder for the tables, pages and pictures.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no remarks; warnings stay.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Rows in memory: read, worked on and written at a time.")]
Prefix = Annotated[str, typer.Option(help="Start of the names of new columns.")]

# ---------------------------------------------------------------------------------------------- columns

TextColumns = Annotated[
    list[str] | None,
    typer.Option("-t", "--text-column", help="Column with the text; repeat it to join several (as in training)."),
]
AllText = Annotated[
    bool,
    typer.Option("--all-text", help="Join all text columns, also where the model knows only texts like one of them."),
]
CorpusTextColumns = Annotated[
    list[str] | None, typer.Option("-t", "--text-column", help="Column with text; repeat it for several (text).")
]
TextColumn = Annotated[list[str], typer.Option("-t", "--text-column", help="Column with text; repeatable.")]
CodeColumn = Annotated[str, typer.Option("-c", "--code-column", help="Column with the code.")]
LanguageColumn = Annotated[str, typer.Option(help="Column with the language.")]
SourceColumn = Annotated[str, typer.Option(help="Column with the source.")]
TrainedCodeColumn = Annotated[
    str | None, typer.Option("-c", "--code-column", help="Column with the right code (as in training).")
]
OtherCodesColumn = Annotated[
    str | None, typer.Option(help="Column with further codes that are right as well, 2221|2222 (as in training).")
]
CodeSeparator = Annotated[str | None, typer.Option(help="Between several codes in one cell (as in training).")]
TrainedLanguageColumn = Annotated[
    str | None, typer.Option(help="Column with the language of a row (as in training, where it is there).")
]
RestoreZeros = Annotated[
    bool, typer.Option("--restore-zeros", help="Put lost leading zeros back where one code is meant (110 is 0110).")
]

# ---------------------------------------------------------------------------------------------- codes and trees

Taxonomy = Annotated[str, typer.Option(help="isco08, a CSV or TSV of codes, or a model directory.")]
TaxonomyArgument = Annotated[
    str, typer.Argument(metavar="TAXONOMY", help="isco08, a CSV or TSV of codes, or a model directory.")
]
Digits = Annotated[str | None, typer.Option(help="Cumulative code lengths when parents are prefixes, e.g. 1,2,3,4,6.")]
Level = Annotated[int | None, typer.Option("-l", "--level", help="Level of the codes, 1 is coarsest (deepest).")]
Levels = Annotated[
    list[int] | None, typer.Option("-l", "--level", help="Level to code to, 1 is coarsest; repeatable (deepest).")
]
TopK = Annotated[int, typer.Option("-k", "--top-k", help="Codes for each row and level.")]
TitleLanguage = Annotated[str | None, typer.Option(help="Language of the titles, e.g. pl.")]
Languages = Annotated[str, typer.Option(help="Only these languages, e.g. en,pl (all).")]


@dataclass(frozen=True, kw_only=True)
class Links:
    """How a correspondence table is read."""

    source_column: Annotated[
        str, typer.Option(help="Its column of source codes, or #1; known tables are recognised by their header.")
    ] = ""
    target_column: Annotated[str, typer.Option(help="Its column of target codes, or #2.")] = ""
    weight_column: Annotated[str, typer.Option(help="Its column of weights.")] = ""
    relation_column: Annotated[str, typer.Option(help="Its column of relations.")] = ""
    relation: Annotated[
        list[str] | None,
        typer.Option("--relation", help="Keep only pairs of this relation, e.g. exactMatch; repeatable."),
    ] = None
    reverse: Annotated[bool, typer.Option("--reverse", help="Read the table from its target to its source.")] = False
    ids: Annotated[
        str | None,
        typer.Option(help="CSV with uri,esco_code (an ESCO occupations file): the table names ESCO codes by URI."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class LinkWeights:
    """How one-to-many links share a code."""

    weights: Annotated[
        str,
        typer.Option(
            help="Of one-to-many links: uniform, proportional (to --counts), given, shares (given, sum up to 1)."
        ),
    ] = "uniform"
    counts: Annotated[
        str | None,
        typer.Option(help="CSV with code,count of target codes: for --weights proportional and inner target codes."),
    ] = None


# ---------------------------------------------------------------------------------------------- models and numbers

Calibrated = Annotated[
    bool, typer.Option("--calibrated", help="Use the model's calibration, fitted on its validation rows.")
]
Raw = Annotated[bool, typer.Option("--raw", help="Do not apply the model's calibration.")]
Prior = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT",
        help="Shares of codes of the rows: training (as learnt), uniform, em (estimated from the rows; em:2 at level "
        "2), or a CSV of code,share.",
    ),
]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples of the 95 % intervals; 0 for none.")]
Confidence = Annotated[float, typer.Option(help="Of the intervals.")]
Seed = Annotated[int, typer.Option(help="Another seed draws other rows.")]
Halves = Annotated[str, typer.Option(help="Sizes of k and a half: even (to the even neighbour, as R) or up.")]
Json = Annotated[bool, typer.Option("--json", help="Everything as one JSON object.")]


@dataclass(frozen=True, kw_only=True)
class Computing:
    """Where and how a model computes."""

    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1 ... (the first GPU where there is one); linear models use the CPU.")
    ] = "auto"
    precision: Annotated[
        str | None,
        typer.Option(
            help="auto: bf16 where the hardware multiplies it, 3 to 4 times as fast; 32; bf16 (as stored: 32)."
        ),
    ] = None

    def model(self, run_dir: str) -> "Classifier":
        """The model of a directory, ready to compute."""
        from hjc.classifiers.computing import PRECISIONS
        from hjc.classifiers.load import load
        from hjc.errors import check_choice

        check_choice("--precision", self.precision or "auto", PRECISIONS)
        return load(run_dir).compute_on(self.device, self.precision)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Which chat endpoint is asked, and what it may cost."""

    endpoint: Annotated[str, typer.Option(help="Address of an OpenAI-compatible one: http://localhost:8000/v1.")] = ""
    api_key_env: Annotated[str, typer.Option(help="Name of the environment variable with its key.")] = ""
    cache: Annotated[str, typer.Option(help="File of answers, from which a stopped run goes on (OUT.answers).")] = ""
    max_requests: Annotated[int, typer.Option(min=0, help="Requests at most (0: no limit).")] = 0
    max_cost: Annotated[float, typer.Option(min=0, help="Cost at most, by the prices (0: no limit).")] = 0.0
    prompt_price: Annotated[float, typer.Option(min=0, help="Of a million tokens of prompts.")] = 0.0
    completion_price: Annotated[float, typer.Option(min=0, help="Of a million tokens of answers.")] = 0.0
    currency: Annotated[str, typer.Option(help="Of the prices.")] = "USD"
    max_tokens: Annotated[int, typer.Option(min=0, help="Of an answer (0: not said).")] = 400
    concurrency: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 4
    timeout: Annotated[float, typer.Option(help="Seconds for a request.")] = 60.0
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would take; ask nothing.")] = False

    def settings(self, model: str, output: str) -> "ChatSettings":
        """Of one model; answers are kept beside the output.

        Raises:
            ValueError: no endpoint, or another machine's without a limit of what it may cost.
        """
        from dataclasses import asdict

        from hjc.rerank.settings import ChatSettings

        if not self.endpoint:
            raise ValueError("--endpoint: which one is asked? Such as --endpoint http://localhost:8000/v1 --model NAME")
        given = {name: value for name, value in asdict(self).items() if name != "dry_run"}
        found = ChatSettings(model=model, **{**given, "cache": self.cache or f"{output}.answers"})
        if not found.is_local and not (self.max_requests or self.max_cost or self.dry_run):
            raise ValueError(
                f"{self.endpoint} is another machine: texts go there, and it may cost. Say how much: --max-requests N, "
                "or --max-cost with --prompt-price and --completion-price; --dry-run shows what to expect"
            )
        return found


# ---------------------------------------------------------------------------------------------- values


def _is_utf8(path: str) -> bool:
    """Whether a file is text in UTF-8; False where it cannot be read."""
    try:
        with open(path, encoding="utf-8") as stream:
            while stream.read(1 << 20):
                pass
    except (OSError, UnicodeDecodeError):
        return False
    return True


def taxonomy_of(spec: str, digits: str | None = None) -> "Tree":
    """isco08, a file of codes, or the tree of a model directory."""
    from pathlib import Path

    if Path(spec).is_dir():
        from hjc.classifiers.storage import read_model_dir

        return read_model_dir(spec).taxonomy
    from hjc.taxonomy import load_taxonomy

    return load_taxonomy(spec, code_lengths(digits) or None)


def listed(text: str) -> tuple[str, ...]:
    """``en, pl`` -> (en, pl)."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def pair(text: str, option: str, example: str) -> tuple[str, str]:
    """``NAME=VALUE``. Raises ValueError with the example."""
    name, _, value = text.partition("=")
    if not name.strip() or not value.strip():
        raise ValueError(f"{option}: got {text!r}, expected something like {example}")
    return name.strip(), value


def code_lengths(text: str | None) -> list[int]:
    """``--digits 1,2,3,4``; [] without."""
    try:
        return [int(part) for part in listed((text or "").strip("[] "))]
    except ValueError:
        raise ValueError(f"--digits: got {text!r}, expected code lengths like 1,2,3,4") from None
