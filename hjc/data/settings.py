"""Typed settings of the data: which files, which columns, which splits. Plain dataclasses; Hydra only fills them."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

from hjc.errors import check_choice, check_range
from hjc.files import stem
from hjc.tables.options import READABLE, SUFFIXES, inner_suffix

ROLES = ("train", "valid", "test", "split")
FORMATS = ("auto", *READABLE)
SINGLETONS = ("train", "test", "sample")
SIDE_KINDS = ("categorical", "hierarchical", "numeric")


@dataclass(kw_only=True, slots=True)
class SideSettings:
    """A column beside the text that the model reads as well."""

    #: its name in the files
    column: str = ""
    #: categorical | hierarchical (a code whose beginnings are the codes above it: NACE, ISCED) | numeric
    kind: str = "categorical"
    #: hierarchical: between the levels of a cell ("": each character may end a level)
    separator: str = ""

    def __post_init__(self) -> None:
        check_range("data.side.column", repr(self.column), bool(self.column), "names of columns")
        check_choice("data.side.kind", self.kind, SIDE_KINDS)


@dataclass(kw_only=True, slots=True)
class SourceSettings:
    """One file with columns of its own. None: as in DataSettings. "" (or an empty list): there is no such column."""

    #: the file
    path: str = ""
    #: format plain: the file with one code a line; `path` has one text a line
    codes_path: str = ""
    #: train (only ever trained on: dictionaries, thesauri) | valid | test | split (split_column or fractions decide)
    role: str = "train"
    #: name of the test set when role is test ("" : "test")
    name: str = ""
    #: as data.format
    format: str = "auto"
    text_columns: list[str] | None = None
    code_column: str | None = None
    other_codes_column: str | None = None
    side: list[SideSettings] | None = None
    language_column: str | None = None
    source_column: str | None = None
    weight_column: str | None = None
    id_column: str | None = None
    group_column: str | None = None
    split_column: str | None = None
    #: role split: column with the probability that a row had of being drawn (hjc_inclusion_probability of hjc review).
    #: Validation rows are then such as an even sample has; a row without a probability is trained on
    inclusion_column: str = ""
    #: language of the rows that have none
    default_language: str | None = None
    #: source of the rows that have none (dictionary, thesaurus, ads ...)
    default_source: str | None = None
    separator: str | None = None
    quote: str | None = None
    encoding: str | None = None
    sheet: str | None = None

    def __post_init__(self) -> None:
        check_choice("data.sources.role", self.role, ROLES)
        check_choice("data.sources.format", self.format, FORMATS)


@dataclass(kw_only=True, slots=True)
class DataSettings:
    """Files, columns, filter and splits. Lists of paths share the columns below; `sources` have their own."""

    #: the bundled sample of ISCO-08 titles and ads; needs no file
    sample: bool = False
    #: with the sample: train on 872 ads as well, which were written for it (the demo does)
    sample_training_ads: bool = False
    #: files that are trained on as a whole
    train: list[str] = field(default_factory=list)
    #: files of validation rows, by which the best state is chosen
    valid: list[str] = field(default_factory=list)
    #: one test file is called "test", several are called by their file names
    test: list[str] = field(default_factory=list)
    #: files to be split: by split_column if there is one, else by the fractions below
    files: list[str] = field(default_factory=list)
    #: files of texts without codes, of the kind that is to be coded; only models that learn from such texts take them
    unlabelled: list[str] = field(default_factory=list)
    #: their text columns ([]: text_columns)
    unlabelled_columns: list[str] = field(default_factory=list)
    #: the reference tool's plain pair: for each file above, the file with one code a line
    train_codes: list[str] = field(default_factory=list)
    #: the same for valid
    valid_codes: list[str] = field(default_factory=list)
    #: the same for test
    test_codes: list[str] = field(default_factory=list)
    #: the same for files
    files_codes: list[str] = field(default_factory=list)
    #: further files with columns of their own (dictionary, thesaurus: role train)
    sources: list[SourceSettings] = field(default_factory=list)

    # ---- columns; "" where there is none
    #: columns that make the text, in this order
    text_columns: list[str] = field(default_factory=lambda: ["text"])
    #: put between the text columns; empty cells leave no separator behind
    text_joiner: str = "\n"
    #: column of the codes
    code_column: str = "code"
    #: further codes of a row that are right as well, in one cell; a weight may follow each: 2221|2222=0.5
    other_codes_column: str = ""
    #: between the codes of a cell. Given, the code column may hold several as well; "" there is one code in it, and |
    #: between other codes
    code_separator: str = ""
    #: side variables: [{column: nace, kind: hierarchical}, ...]; any cell may be missing. A source without such columns
    #: says side: []
    side: list[SideSettings] = field(default_factory=list)
    #: column of the languages
    language_column: str = ""
    #: column of the sources (dictionary, ads ...)
    source_column: str = ""
    #: column of the weights of rows
    weight_column: str = ""
    #: column of names of rows, for messages
    id_column: str = ""
    #: column of groups of rows that stay on one side of a split
    group_column: str = ""
    #: column that says train, valid or test
    split_column: str = ""
    #: language of the rows that have none
    default_language: str = ""
    #: source of the rows that have none
    default_source: str = ""

    # ---- reading
    #: auto (by the name) | csv | tsv | parquet | jsonl | xlsx ...
    format: str = "auto"
    #: auto, or one character; "tab" is the tab
    separator: str = "auto"
    #: the character around cells that hold separators or line breaks; "" where quotes mean nothing
    quote: str = '"'
    #: auto (UTF-8, and UTF-16 by its byte order mark), or a name: cp1250, iso-8859-2, utf-16-le ...
    encoding: str = "auto"
    #: sheet of a workbook; "" is the first
    sheet: str = ""
    #: mend codes that lost their leading zeros (110 -> 0110) where only one code fits; else they are rejected
    restore_zeros: bool = False
    #: length that every code has (0: not the same for all); with it "11" for 011 is recognised as well
    code_width: int = 0
    #: longer texts are cut (0: never)
    max_chars: int = 20_000
    #: take mark-up out as earlier versions did (needs the `prepare` extra)
    strip_html: bool = False
    #: keep only these languages ([]: all); other rows count as filtered
    languages: list[str] = field(default_factory=list)
    #: use at most this many training rows, drawn by `seed` (0: all)
    max_train_rows: int = 0

    # ---- computed splits
    #: share of the rows of `files` that are test rows
    test_fraction: float = 0.2
    #: share of the rows of `files`; also carved from `train` where no validation file is given
    valid_fraction: float = 0.1
    #: a code with one text (or group of texts) only: train | test (as the paper, by code and source) | sample
    singletons: str = "train"
    #: keep texts whose tf-idf cosine is above this on one side of the split (0: identical texts only)
    near_duplicates: float = 0.0
    #: of the split and of rows that are drawn
    seed: int = 1
    #: keep salted hashes of the training texts with the model, to count those among rows that it is evaluated on
    keep_hashes: bool = True

    def __post_init__(self) -> None:
        check_choice("data.format", self.format, FORMATS)
        check_choice("data.singletons", self.singletons, SINGLETONS)
        for name in ("test_fraction", "valid_fraction"):
            check_range(f"data.{name}", value := getattr(self, name), 0 <= value < 1, "0 to below 1")
        both, left = self.test_fraction + self.valid_fraction, "those below 1, or nothing is left to train on"
        check_range("data.test_fraction + data.valid_fraction", both, both < 1, left)
        check_range("data.near_duplicates", self.near_duplicates, 0 <= self.near_duplicates <= 1, "0 (off) to 1")
        twice = [s.column for i, s in enumerate(self.side) if s.column in [other.column for other in self.side[:i]]]
        check_range("data.side", twice, not twice, "columns that are named once")
        for name in ("max_chars", "max_train_rows", "code_width"):
            check_range(f"data.{name}", value := getattr(self, name), value >= 0, "integers from 0 (no limit)")

    def all_sources(self) -> list[SourceSettings]:
        """Every file as a SourceSettings with all its fields filled, in order: train, valid, test, files, sources.

        Raises:
            ValueError: no file is given, a source has no path, or a list of code files does not pair with its texts.
        """
        found: list[SourceSettings] = []
        for role, key in (("train", "train"), ("valid", "valid"), ("test", "test"), ("split", "files")):
            paths, codes = getattr(self, key), getattr(self, f"{key}_codes")
            if codes and len(codes) != len(paths):
                raise ValueError(f"data.{key}_codes: got {len(codes)} files for {len(paths)} files in data.{key}")
            for i, path in enumerate(paths):
                name = stem(path) if role == "test" and len(paths) > 1 else ""
                found.append(
                    SourceSettings(
                        path=path, codes_path=codes[i] if codes else "", role=role, name=name, format=self.format
                    )
                )
        found += [replace(source) for source in self.sources]
        names = [source.name for source in found if source.role == "test"]
        if twice := {name for name in names if name and names.count(name) > 1}:
            raise ValueError(
                f"data.test: several files would be called {sorted(twice)[0]!r}; rename one, or list them in "
                "data.sources with a name each"
            )
        if not found:
            raise ValueError("data: no file is given; set data.train, data.files or data.sources, or data.sample=true")
        for source in found:
            if not source.path:
                raise ValueError("data.sources: a source has no path")
            if source.codes_path:
                source.format = "plain"
            if source.role == "test":
                source.name = source.name or "test"
            if format_of_source(source) == "desk":
                for key, name in DESK.items():
                    if getattr(source, key) is None:
                        setattr(source, key, name)
            for key in _INHERITED:
                if getattr(source, key) is None:
                    setattr(source, key, getattr(self, key))
        return found


#: columns of a desk's store (``hjc serve``), which are not those of the other files
DESK: dict[str, Any] = {
    "text_columns": ["text"], "code_column": "code", "language_column": "language", "weight_column": "weight",
    "source_column": "source", "id_column": "ad", "group_column": "", "split_column": "",
}  # fmt: skip


def format_of_source(source: SourceSettings) -> str:
    """The format of a file, as given or by its name; "" where its name does not tell."""
    return source.format if source.format != "auto" else SUFFIXES.get(inner_suffix(source.path), "")


#: columns and options of a source that are those of DataSettings where they are None
_INHERITED = [option.name for option in fields(SourceSettings) if option.default is None]
