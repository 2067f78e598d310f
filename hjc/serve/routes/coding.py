"""``/v1``: predict, explain, taxonomy, learn, models, jobs."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from hjc.apply.predict import Plan
from hjc.data.recipe import OK
from hjc.explain import explain_text
from hjc.explain.neighbours import nearest_texts
from hjc.explain.show import plain_level, plain_neighbours
from hjc.serve.coding import TooLarge, cells_of, check_size, has_rules, part_of, plan_of, respond, row_cells, usable
from hjc.serve.examples import search_of, training_texts
from hjc.serve.labelling import given_tree, label_rows, models_for
from hjc.serve.learning import learn_rows, retrain
from hjc.serve.routes.access import Admin, Coder, ServiceNow, Supervisor, raw_answer
from hjc.serve.schemas import (
    ExplainRequest,
    ExplainResponse,
    JobResponse,
    JobStarted,
    LearnRequest,
    LearnResponse,
    ModelsResponse,
    NodeResponse,
    PredictRequest,
    PredictResponse,
    Promote,
    PromoteResponse,
    SearchResponse,
    TaxonomyRequest,
    TreeResponse,
)
from hjc.serve.service import Service
from hjc.serve.store.jobs import get_job
from hjc.serve.taxonomy import children_of, node_of, whole_node

#: training texts that an encoder reads for one question: those that share most words with the text
ENCODED = 48

router = APIRouter(prefix="/v1", tags=["coding"])
ModelName = Annotated[str | None, Query(description="Name of a served model (the first).")]
Language = Annotated[str | None, Query(max_length=20)]


def check_texts(service: Service, texts: list[str]) -> None:
    """Raise TooLarge where a text has too many characters."""
    most = service.settings.limits.characters
    for i, text in enumerate(texts):
        if len(text) > most:
            raise TooLarge(f"row {i}: {len(text):,} characters, at most {most:,}: cut the text")


@router.post("/predict")
async def predict(wanted: PredictRequest, service: ServiceNow, user: Coder) -> PredictResponse:
    """Code ads. The options are those of ``hjc predict``."""
    served = service.board.get(wanted.model)
    recipe, cells = cells_of(wanted, served.classifier.recipe, service.settings.limits.rows)
    check_texts(service, [cell for column in cells for cell in column if cell])
    part = part_of(wanted, recipe, cells)
    texts = usable(part)

    def prepared() -> Plan:
        if wanted.calibrated:
            _ = served.calibrated
        return plan_of(served, wanted)

    def finished() -> PredictResponse:
        found = served.finish(texts, raw, calibrated=wanted.calibrated, learned=wanted.learned)
        return respond(served, wanted, part, plan, found)

    # a change of threads costs more than a plan without rules; rules may read files
    plan = await run_in_threadpool(prepared) if wanted.calibrated or has_rules(wanted) else prepared()
    check_size(plan, len(cells[0]), service.settings.limits.codes)
    raw = await raw_answer(service, served, texts)
    return await run_in_threadpool(finished)


@router.post("/explain")
def explain(wanted: ExplainRequest, service: ServiceNow, user: Coder) -> ExplainResponse:
    """Why a code: what each word contributes, and the nearest training texts and corrections."""
    served = service.board.get(wanted.model)
    if (wanted.text is None) == (wanted.row is None):
        raise ValueError("give one of text and row")
    recipe = served.classifier.recipe
    cells = [[wanted.text]] if wanted.row is None else row_cells(recipe, [wanted.row])
    texts, statuses = recipe.read(cells) if wanted.row is not None else recipe.of_columns(["text"]).read(cells)
    check_texts(service, texts)
    if statuses[0] != OK:
        raise ValueError(f"text: {statuses[0]}")
    model = served.calibrated if wanted.calibrated else served.classifier
    tree, text = model.taxonomy, texts[0]
    levels = explain_text(
        model, text, wanted.levels or None, code=wanted.code, against=wanted.against, method=wanted.method
    )
    out = ExplainResponse(
        model=served.name, version=served.version, text=text,
        levels=[plain_level(tree, one, wanted.title_language) for one in levels],
        notes=list(dict.fromkeys(note for one in levels for note in one.notes)),
    )  # fmt: skip
    if wanted.neighbours:
        out.corrections = [one._asdict() for one in served.memory.nearest(text, wanted.neighbours)]
        rows, note = training_texts(served)
        if rows is not None:
            near = nearest_texts(model, text, rows, wanted.neighbours, most=ENCODED)
            out.neighbours = plain_neighbours(tree, near, wanted.title_language)
        out.notes += [note] if note else []
    return out


@router.get("/taxonomy")
def taxonomy(
    service: ServiceNow, user: Coder, model: ModelName = None, parent: str | None = None, language: Language = None
) -> TreeResponse:
    """The nodes below one (the top ones)."""
    served = service.board.get(model)
    tree = served.classifier.taxonomy
    above = -1 if parent is None else int(tree.encode([parent])[0])
    nodes = [node_of(tree, node, language) for node in children_of(tree, above)]
    return TreeResponse(model=served.name, taxonomy=tree.name, languages=list(tree.titles), parent=parent, nodes=nodes)


@router.get("/taxonomy/search")
def search(
    service: ServiceNow, user: Coder, q: Annotated[str, Query(max_length=200)], model: ModelName = None,
    language: Language = None, n: Annotated[int, Query(ge=1, le=100)] = 20,
    level: Annotated[int | None, Query(ge=1, le=64)] = None,
) -> SearchResponse:  # fmt: skip
    """Codes whose titles, descriptions or short training texts, in any language, hold all words; best first."""
    index = search_of(service.board.get(model))
    return SearchResponse(query=q, hits=index.find(q, language, n, level))


@router.get("/taxonomy/node")
def node(
    service: ServiceNow, user: Coder, code: str, model: ModelName = None, language: Language = None
) -> NodeResponse:
    """A code with its path, its children and its texts in every language."""
    return whole_node(service.board.get(model).classifier.taxonomy, code, language)


@router.post("/learn")
def learn(wanted: LearnRequest, service: ServiceNow, user: Coder) -> LearnResponse:
    """Corrections: in force at once for the same and for like texts; with retrain also by a new training."""
    served = service.board.get(wanted.model)
    if len(wanted.corrections) > service.settings.limits.rows:
        raise TooLarge(f"got {len(wanted.corrections):,} corrections, at most {service.settings.limits.rows:,}")
    if not wanted.corrections and not wanted.retrain:
        raise ValueError("give corrections, or retrain")
    check_texts(service, [" ".join(filter(None, (one.text, *(one.row or {}).values()))) for one in wanted.corrections])
    learned, known = learn_rows(service, served, user, wanted.corrections)
    job = retrain(service, served, user) if wanted.retrain else None
    return LearnResponse(learned=learned, known=known, job=job)


@router.post("/label")
def label(wanted: PredictRequest, service: ServiceNow, user: Coder) -> JobStarted:
    """Code many rows in the background; the job's result is that of ``/v1/predict``. Texts are not kept."""
    served = service.board.get(wanted.model)
    if wanted.calibrated:
        _ = served.calibrated
    cells_of(wanted, served.classifier.recipe, service.settings.limits.upload_rows)
    check_size(plan_of(served, wanted), wanted.size(), service.settings.limits.job_codes)
    return JobStarted(job=service.begin("label", user, lambda progress: label_rows(served, wanted, progress)))


@router.post("/taxonomies")
def taxonomies(wanted: TaxonomyRequest, service: ServiceNow, user: Supervisor) -> JobStarted:
    """Which models code to this tree; models that know codes by their texts are put on it."""
    tree = given_tree(wanted)
    return JobStarted(job=service.begin("taxonomy", user, lambda progress: models_for(service, wanted.name, tree)))


@router.get("/models")
def models(service: ServiceNow, user: Coder) -> ModelsResponse:
    """The models that are served, with their trees."""
    return ModelsResponse(models=[served.facts() for served in service.board])


@router.post("/models/{name}/reload")
def reload(name: str, service: ServiceNow, user: Admin) -> ModelsResponse:
    """Load a model's directory again, after it was replaced; requests under way are answered by the old one."""
    service.reload(name, user)
    return models(service, user)


@router.post("/models/{name}/promote")
def promote(name: str, wanted: Promote, service: ServiceNow, user: Admin) -> PromoteResponse:
    """Serve a new model by this name, if it is not worse on the audited ads (409 if it is)."""
    if (wanted.directory is None) == (wanted.job is None):
        raise ValueError("give one of directory and job")
    directory = wanted.directory
    if wanted.job is not None:
        with service.store.read() as connection:
            row = get_job(connection, wanted.job)
        if row.kind != "learn" or row.state != "done":
            raise ValueError(f"job {wanted.job!r} is no finished training: it is {row.kind}, {row.state}")
        directory = row.result["directory"]
    assert directory is not None
    try:
        found = service.promote(name, directory, user)
    except OSError as error:
        raise ValueError(f"directory: {error}") from None
    return PromoteResponse(version=service.board.get(name).version, found=str(found), comparison=asdict(found))


@router.get("/jobs/{name}")
def job(name: str, service: ServiceNow, user: Coder) -> JobResponse:
    """How far a job is, and what it made."""
    with service.store.read() as connection:
        row = get_job(connection, name)
    return JobResponse(
        job=row.name, kind=row.kind, state=row.state, progress=row.progress, created=row.created, started=row.started,
        ended=row.ended, result=row.result, error=row.error,
    )  # fmt: skip
