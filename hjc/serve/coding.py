"""From a request to texts, and from a model's answer to a response; the same options and rules as ``hjc predict``."""

from collections.abc import Sequence
from typing import Any

from hjc.apply.decisions import DecisionPlan
from hjc.apply.loop import Columns, Part
from hjc.apply.predict import Plan, code_rows
from hjc.data.recipe import OK, TextRecipe
from hjc.serve.models import Answer, Answered, Served
from hjc.serve.schemas import CodeFound, LevelFound, PredictRequest, PredictResponse, RowFound, Rows
from hjc.tables.chunks import TextChunk

TEXT, LANGUAGE = "text", "language"
#: options of a request that are rules of :class:`hjc.apply.decisions.DecisionPlan`
RULES = ("back_off", "target_accuracy", "by_group", "conformal", "conformal_by", "conformal_score", "conformal_codes",
         "cost", "path", "abstain")  # fmt: skip


class TooLarge(ValueError):
    """More than one request may ask for."""


def cells_of(wanted: Rows, recipe: TextRecipe, most: int) -> tuple[TextRecipe, list[list[str | None]]]:
    """The recipe and the cells of each of its columns.

    Raises:
        TooLarge: more rows than ``most``. ValueError: none or several of text, texts and rows; rows without columns.
    """
    if sum(x is not None for x in (wanted.text, wanted.texts, wanted.rows)) != 1:
        raise ValueError("give one of text, texts and rows")
    if wanted.size() > most:
        raise TooLarge(
            f"got {wanted.size():,} rows, at most {most:,} in one request: send them in several, or as a job"
        )
    if wanted.rows is None:
        texts = [wanted.text] if wanted.text is not None else list(wanted.texts or [])
        return recipe.of_columns([TEXT]), [list(texts)]
    return recipe, row_cells(recipe, wanted.rows)


def row_cells(recipe: TextRecipe, rows: Sequence[dict[str, str | None]]) -> list[list[str | None]]:
    """The cells of each column of the recipe. Raises ValueError where it names none, or a row has none of them."""
    if not recipe.columns:
        raise ValueError("this model does not say which columns make a text: send text or texts")
    for i, row in enumerate(rows):
        if not any(name in row for name in recipe.columns):
            raise ValueError(
                f"rows[{i}]: none of the columns {', '.join(recipe.columns)} is there; got {', '.join(row)}"
            )
    return [[row.get(name) for row in rows] for name in recipe.columns]


def part_of(wanted: PredictRequest, recipe: TextRecipe, cells: list[list[str | None]]) -> Part:
    """The rows of a request as the loop over a table has them. Raises ValueError: languages of another number."""
    n = len(cells[0])
    held: dict[str, list[str | None]] = dict(zip(recipe.columns, cells, strict=True))
    spoken = wanted.languages
    if spoken is not None:
        if len(spoken) != n:
            raise ValueError(f"languages: got {len(spoken)} for {n} rows")
        held[LANGUAGE] = list(spoken)
    columns = Columns(recipe, language=LANGUAGE if spoken is not None else None)
    return Part(TextChunk([[]] * n, list(range(n))), columns, held, label="the request")


def has_rules(wanted: PredictRequest) -> bool:
    """Whether more is asked for than the most probable codes."""
    return any(getattr(wanted, name) != PredictRequest.model_fields[name].default for name in RULES)


def plan_of(served: Served, wanted: PredictRequest) -> Plan:
    """What is decided about each row. Raises ValueError as ``hjc predict`` does."""
    tree = served.classifier.taxonomy
    plan = Plan(
        tree, levels=tuple(wanted.levels), top_k=wanted.top_k, prefix="", title_language=wanted.title_language,
        outcomes=served.classifier.has_outcomes,
    )  # fmt: skip
    if not has_rules(wanted):
        return plan
    rules = {name: getattr(wanted, name) for name in RULES}
    needs = wanted.target_accuracy is not None or wanted.conformal is not None
    if wanted.conformal_by == LANGUAGE and wanted.languages is None:
        raise ValueError("conformal_by=language: give languages, one a row")
    validation = served.validation if needs else None
    decisions = DecisionPlan(plan, validation, calibrated=wanted.calibrated, **rules)
    return Plan(**{**plan.__dict__, "decisions": decisions})


def check_size(plan: Plan, rows: int, most: int) -> None:
    """Raise TooLarge where the answer would have more than ``most`` codes: it takes minutes and memory to write."""
    each = sum(plan.ranks(level) for level in plan.levels)
    if rows * each > most:
        raise TooLarge(
            f"{rows:,} rows with {each:,} codes each (top_k, levels) are {rows * each:,} codes, at most {most:,} "
            "in one answer: ask for fewer codes, or send fewer rows at a time"
        )


def respond(served: Served, wanted: PredictRequest, part: Part, plan: Plan, answer: Answer) -> PredictResponse:
    """The response for rows whose usable texts have been answered."""
    served.seen.see(part, answer.log_proba, answer.stages)
    found = code_rows(Answered(served.classifier, answer), plan, part)
    stages = dict(zip(part.good.tolist(), answer.stages, strict=True))
    further = [*(plan.decisions.columns if plan.decisions is not None else ()), *_outcome_columns(plan)]
    rows = []
    for i, status in enumerate(found["status"]):
        if i not in stages:
            rows.append(RowFound(status=status))
            continue
        levels = [LevelFound(level=d, codes=_codes(plan, found, d, i)) for d in plan.levels]
        decided = {name: found[name][i] for name in further}
        rows.append(RowFound(status=status, stage=stages[i], levels=levels, decisions=decided))
    notes = list(plan.decisions.notes) if plan.decisions is not None else []
    return PredictResponse(
        model=served.name, version=served.version, calibrated=wanted.calibrated, rows=rows, notes=notes
    )


def _outcome_columns(plan: Plan) -> list[str]:
    return [f"{plan.prefix}{name}" for name in ("outcome", "outcome_reason")] if plan.outcomes else []


def _codes(plan: Plan, found: dict[str, list[Any]], level: int, row: int) -> list[CodeFound]:
    out = []
    for rank in range(1, plan.ranks(level) + 1):
        values = [found[f"level{level}_{what}_{rank}"][row] for what in ("code", "title", "proba")]
        if values[0] is not None:
            out.append(CodeFound(code=values[0], title=values[1], probability=min(float(values[2]), 1.0)))
    return out


def usable(part: Part) -> list[str]:
    """The texts that go to the model, in their order."""
    return [text for text, status in zip(part.texts, part.status, strict=True) if status == OK]
