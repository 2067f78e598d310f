"""What goes in and out of ``/v1/predict`` and its like: typed, with examples; unknown keys are refused."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(max_length=1_000_000)]
#: the number of a row of the store
Number = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(gt=0, lt=1)]
Proba = Annotated[float, Field(gt=0, le=1)]
Level = Annotated[int, Field(ge=1, le=64)]
Code = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Request(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Response(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class Rows(Request):
    """Ads to be coded: one text, several texts, or rows with the columns that the model was trained on."""

    model: str | None = Field(default=None, description="Name of a served model (the first).")
    text: Text | None = None
    texts: list[Text] | None = None
    rows: list[dict[str, Text | None]] | None = None

    def size(self) -> int:
        """How many rows, before anything is made of them."""
        return 1 if self.text is not None else len(self.texts if self.texts is not None else self.rows or ())


class PredictRequest(Rows):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"text": "Registered nurse, intensive care", "levels": [1, 4], "top_k": 3},
                {"rows": [{"title": "Lorry driver", "description": "International routes, C+E"}], "back_off": 0.8},
            ]
        },
    )
    levels: list[Level] = Field(default=[], max_length=64, description="Levels, 1 is coarsest (the deepest).")
    top_k: int = Field(default=1, ge=1, le=1000)
    calibrated: bool = False
    learned: bool = Field(default=True, description="Use what was corrected since the training.")
    title_language: str | None = None
    languages: list[str] | None = Field(default=None, description="Language of each row, for conformal_by=language.")
    back_off: Proba | None = None
    target_accuracy: Share | None = None
    by_group: bool = False
    conformal: Share | None = None
    conformal_by: Literal["language", "group"] | None = None
    conformal_score: Literal["lac", "aps", "raps"] = "lac"
    conformal_codes: int | None = Field(default=None, ge=1, le=1000)
    cost: Literal["lca", "levels"] | None = None
    path: Literal["leaf", "greedy"] | None = None
    abstain: Proba | None = None


class CodeFound(Response):
    code: str
    title: str
    probability: float


class LevelFound(Response):
    level: int
    codes: list[CodeFound]


class RowFound(Response):
    status: str = Field(description='"ok", or why the row has no codes.')
    stage: str | None = Field(default=None, description="What decided: model, exact or neighbour (a correction).")
    levels: list[LevelFound] = []
    decisions: dict[str, Any] = Field(default={}, description="As the columns of hjc predict, without their prefix.")


class PredictResponse(Response):
    model: str
    version: str
    calibrated: bool
    rows: list[RowFound]
    notes: list[str] = []


class ExplainRequest(Request):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"text": "Registered nurse, intensive care", "neighbours": 3}]}
    )
    model: str | None = None
    text: Text | None = None
    row: dict[str, Text | None] | None = None
    levels: list[Level] = Field(default=[], max_length=64)
    code: Code | None = None
    against: Code | None = None
    method: Literal["auto", "linear", "gradients", "occlusion"] = "auto"
    neighbours: int = Field(default=0, ge=0, le=50, description="Also so many training texts and corrections.")
    calibrated: bool = False
    title_language: str | None = None


class ExplainResponse(Response):
    model: str
    version: str
    text: str = Field(description="As the model takes it: word places point into it.")
    levels: list[dict[str, Any]]
    neighbours: list[dict[str, Any]] = []
    corrections: list[dict[str, Any]] = []
    notes: list[str] = []


class Node(Response):
    code: str
    title: str
    level: int
    leaf: bool
    parent: str | None = None
    children: int = 0


class NodeResponse(Response):
    node: Node
    path: list[Node] = Field(description="From the top to the node itself.")
    children: list[Node]
    titles: dict[str, str]
    descriptions: dict[str, str]


class TreeResponse(Response):
    model: str
    taxonomy: str
    languages: list[str]
    parent: str | None
    nodes: list[Node]


class Hit(Node):
    matched: str = Field(description="The text in which the words were found.")
    where: Literal["code", "title", "description", "example"]
    language: str
    path: list[str] = Field(description="Titles from the top to the parent.")


class SearchResponse(Response):
    query: str
    hits: list[Hit]


class LearnRow(Request):
    text: Text | None = None
    row: dict[str, Text | None] | None = None
    codes: list[Code] = Field(min_length=1, max_length=20)
    key: str | None = Field(
        None, max_length=200, description="Your name for the correction; given again, it is ignored."
    )
    language: str = Field(default="", max_length=20)


class LearnRequest(Request):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"corrections": [{"text": "Ward sister", "codes": ["2221"]}], "retrain": False}]
        },
    )
    model: str | None = None
    corrections: list[LearnRow] = Field(default=[])
    retrain: bool = Field(default=False, description="Also train the classifier anew in the background: see job.")


class LearnResponse(Response):
    learned: int = Field(description="Corrections that are in force now.")
    known: int = Field(description="Corrections whose key was there already.")
    job: str | None = None


class GivenCode(Request):
    code: Code
    parent: Code | Literal[""] = ""
    title: str = Field(default="", max_length=2000)
    description: str = Field(default="", max_length=20_000)


class TaxonomyRequest(Request):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "mine", "codes": [{"code": "2"}, {"code": "21", "parent": "2"}]}]},
    )
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$", description="By which models put on it are served.")
    language: str = Field(default="en", min_length=2, max_length=20)
    codes: list[GivenCode] = Field(min_length=1, max_length=100_000)


class JobStarted(Response):
    job: str


class ModelsResponse(Response):
    models: list[dict[str, Any]]


class Promote(Request):
    directory: str | None = Field(default=None, description="A model directory on the server.")
    job: str | None = Field(default=None, description="A finished retraining.")


class PromoteResponse(Response):
    version: str
    found: str
    comparison: dict[str, Any]


class JobResponse(Response):
    job: str
    kind: str
    state: Literal["waiting", "running", "done", "failed"]
    progress: float | None = None
    created: str
    started: str | None = None
    ended: str | None = None
    result: dict[str, Any] | None = None
    error: str | None = None


class Problem(Response):
    detail: str


class Health(Response):
    status: str
    detail: dict[str, Any] = {}
