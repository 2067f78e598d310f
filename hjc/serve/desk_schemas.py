"""What goes in and out of ``/v1/desk``."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from hjc.serve.schemas import Code, Number, Proba, Request, Response, Share, Text
from hjc.serve.store.erasing import LONGEST

Name = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^\x00]*$")]
Key = Annotated[str, StringConstraints(pattern=r"^[!-~]{8,80}$")]


class Person(Response):
    name: str
    role: Literal["coder", "supervisor", "admin"]


class Me(Response):
    user: Person | None
    open: bool = Field(description="No tokens here: a name is enough to sign in.")
    models: list[dict[str, Any]]


class Login(Request):
    name: Name | None = Field(default=None, description="Without tokens: who codes.")
    token: str | None = Field(default=None, max_length=200)


class BatchSettings(Request):
    """How a table becomes a queue."""

    name: Name
    model: str | None = None
    text_columns: list[str] = Field(default=[], max_length=20, description="Columns of the text (as in training).")
    language_column: str = ""
    key_column: str = Field(default="", description="Column that names the row; its text can be removed by it.")
    order: Literal["uncertain", "margin", "entropy", "diverse", "random", "file"] = "uncertain"
    level: int | None = Field(default=None, ge=1, le=64, description="Level whose codes are unsure (the deepest).")
    audit: Number = Field(default=0, description="Rows drawn at random and kept apart: never learnt from.")
    second: float = Field(default=0.0, ge=0, le=1, description="Share of the rows that a second coder codes as well.")
    automatic: Proba | None = Field(default=None, description="Rows whose code is at least so probable need no coder.")
    target_accuracy: Share | None = Field(
        default=None,
        description="The same with thresholds at which so many coded rows are right by the validation rows.",
    )
    hide: Literal["none", "audit", "all"] = Field(default="none", description="Where no suggestions are shown.")
    retention_days: float | None = Field(default=None, gt=0, le=LONGEST, description="Texts are removed after so long.")
    seed: Number = 0


class NewBatch(BatchSettings):
    """Pasted ads."""

    rows: list[dict[str, Text | None]] | None = None
    texts: list[Text] | None = None


class Looked(Response):
    columns: list[str]
    rows: list[dict[str, str]] = Field(description="The first rows.")
    text_columns: list[str] = Field(description="Guess: those of the model, where they are there.")
    language_column: str = ""
    key_column: str = ""


class BatchMade(Response):
    batch: int
    job: str


class Batch(Response):
    id: int
    name: str
    created: str
    model: str
    source: str
    state: str
    ads: int
    tasks: int
    done: int
    leased: int
    open: int
    settings: dict[str, Any]


class Batches(Response):
    batches: list[Batch]


class Deal(Request):
    coders: list[Name] = Field(min_length=1, max_length=200)
    each: Number | None = Field(default=None, description="Ads of a coder, with the common ones (all).")
    common: Number = Field(default=0, description="Ads that every coder gets, drawn at random.")
    seed: Number = 0


class Dealt(Response):
    tasks: dict[str, int]


class Second(Request):
    ads: list[Number] = Field(min_length=1, max_length=10_000)


class Count(Response):
    count: int


class Candidate(Response):
    """A node that may be the code, with those below it that may be."""

    code: str
    title: str
    level: int
    probability: float
    leaf: bool
    open: bool = Field(description="Shown with its children at first: it is on the way to the best code, or unsure.")
    more: int = Field(description="Children that are too improbable to be listed.")
    children: list["Candidate"]


class Choice(Response):
    """A code of a level, in the order in which the keys 1 to 9 choose it."""

    code: str
    title: str
    probability: float
    path: list[str] = Field(description="Titles above it, from the top.")
    leaf: bool


class LevelChoices(Response):
    level: int
    choices: list[Choice]


class Suggestions(Response):
    model: str
    version: str
    calibrated: bool
    stage: str
    backed_off: str | None = Field(description="The deepest code that is probable enough, where there is one.")
    level: int = Field(description="The level to begin with: that of backed_off, else the deepest.")
    levels: list[LevelChoices]
    tree: list[Candidate]


class TaskOut(Response):
    """An ad as its coder sees it. Whether it is audited or has a second coder is not told."""

    task: int
    ad: int
    batch: int
    number: int = Field(description="Row in the file, the first is 1.")
    language: str
    text: str
    fields: dict[str, Any]
    status: str = Field(description='"ok", or why the text cannot be coded by a model.')
    model: str = Field(description="Whose tree has the codes.")
    shown: int | None = None
    suggestions: Suggestions | None = None


class Next(Request):
    batch: Number | None = None
    n: int = Field(default=1, ge=1, le=20, description="This and the next ones, which a page can fetch ahead.")
    language: str | None = Field(default=None, max_length=20, description="Of the titles.")


class Tasks(Response):
    tasks: list[TaskOut]


class Decide(Request):
    """A decision. ``key`` makes a repeated request harmless: a page makes it when the ad is opened."""

    key: Key
    task: Number
    kind: Literal["code", "several", "not_a_job", "skip"]
    codes: list[Code] = Field(default=[], max_length=20)
    comment: str = Field(default="", max_length=5000)
    seconds: float | None = Field(default=None, ge=0, le=86_400)
    shown: Number | None = None
    batch: Number | None = Field(default=None, description="Of the progress that is told.")


class Progress(Response):
    tasks: int
    done: int
    left: int
    per_hour: float | None
    seconds_left: float | None


class Decided(Response):
    decision: int
    progress: Progress


class Undo(Request):
    key: Key
    task: Number | None = None
    language: str | None = None


class HistoryRow(Response):
    decision: int
    task: int | None
    ad: int
    number: int
    at: str
    kind: str
    codes: list[str]
    titles: list[str]
    text: str
    undone: bool


class History(Response):
    decisions: list[HistoryRow]


class Figure(Response):
    """A share or coefficient with its 95 % interval; null where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class LevelAgreement(Response):
    level: int
    figures: dict[str, Figure] = Field(description="all_agree, pairwise, fleiss, alpha.")


class Supervision(Response):
    progress: Progress
    coders: list[dict[str, Any]]
    agreement: list[LevelAgreement]
    disputed: int


class Dispute(Response):
    ad: int
    number: int
    batch: int
    text: str
    fields: dict[str, Any]
    language: str
    decisions: list[dict[str, Any]]


class Disputes(Response):
    disputes: list[Dispute]


class Adjudicate(Request):
    key: Key
    ad: Number
    codes: list[Code] = Field(default=[], max_length=20, description="None: it is no job.")
    comment: str = Field(default="", max_length=5000)


class NewUser(Request):
    name: Name
    role: Literal["coder", "supervisor", "admin"] = "coder"


class NewToken(Response):
    name: str
    token: str = Field(description="Told this once.")


class People(Response):
    users: list[dict[str, Any]]


class Erase(Request):
    ids: list[str] = Field(min_length=1, max_length=1000)
