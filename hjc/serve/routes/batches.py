"""``/v1/desk``: tables in, tables out, dealing, agreement, adjudication."""

import io
from typing import Annotated, Literal

import pandas as pd
from fastapi import APIRouter, File, Form, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from hjc.serve import intake
from hjc.serve.coding import TooLarge
from hjc.serve.desk_schemas import (
    Adjudicate,
    Batch,
    Batches,
    BatchMade,
    BatchSettings,
    Count,
    Deal,
    Dealt,
    Dispute,
    Disputes,
    Looked,
    NewBatch,
    Progress,
    Second,
    Supervision,
)
from hjc.serve.routes.access import Coder, ServiceNow, Supervisor
from hjc.serve.schemas import Number
from hjc.serve.service import Service
from hjc.serve.store import batches as store_batches
from hjc.serve.store import queue, results
from hjc.serve.store.people import User, note_event
from hjc.serve.supervision import agreement_by_level

router = APIRouter(prefix="/v1/desk", tags=["batches"])


@router.post("/look")
async def look(
    service: ServiceNow, user: Supervisor, file: Annotated[UploadFile, File()], model: Annotated[str, Form()] = ""
) -> Looked:
    """The columns and first rows of a table, before it is taken in."""
    served, name = service.board.get(model or None), intake.upload_name(file.filename)
    table = await run_in_threadpool(intake.read_upload, file.file, name, service.settings.limits.upload_rows)
    return await run_in_threadpool(intake.look, table, served.classifier.recipe)


@router.post("/upload")
async def upload(
    service: ServiceNow, user: Supervisor, file: Annotated[UploadFile, File()], settings: Annotated[str, Form()]
) -> BatchMade:
    """A CSV, TSV, JSON, Parquet or Excel file becomes a batch; ``settings`` is BatchSettings as JSON."""
    try:
        wanted, name = BatchSettings.model_validate_json(settings), intake.upload_name(file.filename)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    table = await run_in_threadpool(intake.read_upload, file.file, name, service.settings.limits.upload_rows)
    return await run_in_threadpool(take_in, service, user, table, wanted, name)


@router.post("/batches")
def new_batch(wanted: NewBatch, service: ServiceNow, user: Supervisor) -> BatchMade:
    """Pasted ads become a batch."""
    if (wanted.rows is None) == (wanted.texts is None):
        raise ValueError("give one of rows and texts")
    rows = wanted.rows or [{"text": text} for text in wanted.texts or []]
    if not rows:
        raise ValueError("there are no rows")
    if len(rows) > (most := service.settings.limits.upload_rows):
        raise TooLarge(f"got {len(rows):,} rows, at most {most:,}")
    settings = BatchSettings(**wanted.model_dump(exclude={"rows", "texts"}))
    return take_in(service, user, intake.of_rows(rows), settings, "pasted")


def take_in(service: Service, user: User, table: intake.Incoming, settings: BatchSettings, source: str) -> BatchMade:
    """Check what can be checked at once; code and write in the background."""
    served = service.board.get(settings.model)
    served.classifier.taxonomy.check_level(settings.level or 1)
    if settings.target_accuracy is not None:
        _ = served.validation
    if not settings.text_columns and not set(served.classifier.recipe.columns) & set(table.columns):
        settings = settings.model_copy(
            update={"text_columns": intake.look(table, served.classifier.recipe).text_columns}
        )
    intake.ads_of(intake.Incoming(table.columns, table.rows[:1]), settings, served.classifier.recipe)
    if settings.audit > len(table.rows):
        raise ValueError(f"audit: got {settings.audit:,}, the table has {len(table.rows):,} rows")
    with service.store.write() as connection:
        kept = settings.model_dump(exclude={"name"})
        batch = store_batches.new_batch(connection, settings.name, user, served.name, source[:200], kept)

    def work(progress: object) -> dict[str, object]:
        try:
            return intake.fill_batch(
                service.store, served, batch, table, settings, wait=600.0, done=progress,  # type: ignore[arg-type]
            )  # fmt: skip
        except BaseException:
            with service.store.write() as connection:
                store_batches.set_state(connection, batch, "failed")
            raise

    return BatchMade(batch=batch, job=service.begin("batch", user, work, batch=batch))


@router.get("/batches")
def batches(service: ServiceNow, user: Coder) -> Batches:
    """Every batch with how far it is, the newest first."""
    with service.store.read() as connection:
        rows = store_batches.list_batches(connection)
    return Batches(batches=[Batch(**row) for row in rows])


@router.post("/batches/{batch}/deal")
def deal(batch: Number, wanted: Deal, service: ServiceNow, user: Supervisor) -> Dealt:
    """Deal the open ads to coders, some of them to all."""
    with service.store.write() as connection:
        store_batches.get_batch(connection, batch)
        dealt = store_batches.deal_batch(
            connection, batch, wanted.coders, each=wanted.each, common=wanted.common, seed=wanted.seed
        )
        note_event(connection, user, "deal", batch=batch, tasks=dealt, common=wanted.common)
    return Dealt(tasks=dealt)


@router.post("/batches/{batch}/second")
def second(batch: Number, wanted: Second, service: ServiceNow, user: Supervisor) -> Count:
    """A second coder for given ads."""
    with service.store.write() as connection:
        return Count(count=store_batches.double(connection, batch, wanted.ads))


@router.get("/supervise")
def supervise(service: ServiceNow, user: Supervisor, batch: Number | None = None) -> Supervision:
    """Progress of all, what each coder did, and how far coders agree at each level."""
    with service.store.read() as connection:
        found = results.progress(connection, batch)
        coders = results.by_coder(connection, batch)
        ratings = results.table(connection, "ratings", batch)
        disputed = results.disputes(connection, batch)
    tree = service.board.get().classifier.taxonomy
    return Supervision(
        progress=Progress(**found), coders=coders, agreement=agreement_by_level(tree, ratings), disputed=len(disputed)
    )


@router.get("/disputes")
def disputes(service: ServiceNow, user: Supervisor, batch: Number | None = None) -> Disputes:
    """Ads whose coders differ, with what each said."""
    with service.store.read() as connection:
        return Disputes(disputes=[Dispute(**row) for row in results.disputes(connection, batch)])


@router.post("/adjudicate")
def adjudicate(wanted: Adjudicate, service: ServiceNow, user: Supervisor) -> Count:
    """Settle an ad: the codes count before those of the coders, whose decisions stay."""
    service.board.get().classifier.taxonomy.encode(wanted.codes)
    choice = queue.Choice(wanted.key, "adjudicate", wanted.codes, wanted.comment)
    with service.store.write() as connection:
        store_batches.check_ad(connection, wanted.ad)
        number = queue.adjudicate(connection, user, wanted.ad, choice)
    service.refresh_corrections([wanted.ad])
    return Count(count=number)


KINDS = ("text/csv; charset=utf-8", "application/vnd.apache.parquet", "application/x-ndjson")


@router.get("/export", response_class=Response, responses={200: {"content": {kind: {} for kind in KINDS}}})
def export(
    service: ServiceNow,
    user: Supervisor,
    table: Literal["final", "ratings", "training", "audit"] = "final",
    format: Literal["csv", "parquet", "jsonl"] = "csv",
    batch: Number | None = None,
) -> Response:
    """A table of what was decided: final codes, a line for each coder, rows to train on, or the audited rows."""
    with service.store.read() as connection:
        frame = pd.DataFrame(results.table(connection, table, batch))
    name = f"desk-{table}{'' if batch is None else f'-{batch}'}.{format}"
    if format == "parquet":
        stream = io.BytesIO()
        frame.to_parquet(stream, index=False)
        body, kind = stream.getvalue(), KINDS[1]
    elif format == "csv":
        body, kind = frame.to_csv(index=False).encode(), KINDS[0]
    else:
        body, kind = frame.to_json(orient="records", lines=True, force_ascii=False).encode(), KINDS[2]
    return Response(body, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})
