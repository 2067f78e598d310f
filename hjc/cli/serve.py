"""``hjc serve``: models over HTTP, and the coder's desk."""

from typing import Annotated

import typer

from hjc.cli import session


def serve(
    run_dir: Annotated[
        list[str], typer.Argument(metavar="[NAME=]RUN_DIR...", help="Model directories; the first is the default.")
    ],
    *,
    store: Annotated[
        str, typer.Option(help="Where the desk keeps its data: a file (SQLite) or postgresql://...")
    ] = "desk.db",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")] = 8000,
    tokens: Annotated[bool, typer.Option("--tokens", help="Only with a token (see hjc desk user).")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Name by which the service is called, beside HOST; repeatable.")
    ] = None,
    promote: Annotated[
        str | None,
        typer.Option(metavar="NEW_DIR", help="Serve NEW_DIR by the first name from now on, if it is not worse."),
    ] = None,
    ads: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Ads to be coded, taken in once; sample: the bundled ads.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    retention_days: Annotated[float | None, typer.Option(help="Remove texts so long after they came in.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of one request, at most.")] = 1000,
    characters: Annotated[int, typer.Option(min=1, help="Characters of one text, at most.")] = 20_000,
    seconds: Annotated[float, typer.Option(help="Until a request is given up.")] = 30.0,
    requests: Annotated[int, typer.Option(min=1, help="Requests under way; beyond: 503 and Retry-After.")] = 512,
    queue_rows: Annotated[int, typer.Option(min=1, help="Rows that may wait; beyond: 503 and Retry-After.")] = 4096,
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows that go through the model together.")] = 256,
    log_texts: Annotated[bool, typer.Option("--log-texts", help="Texts may stand in the log.")] = False,
) -> None:
    """Serve models over HTTP, with a page on which people code, review and correct.

    http://127.0.0.1:8000/ is the page, /openapi.json the description of the routes (docs/serve.md). Ctrl-C and SIGTERM
    stop it when the requests that came in are answered.
    """
    from hjc.serve.run import promote_from_here, run
    from hjc.serve.settings import Limits, ServeSettings

    if promote is not None:
        return promote_from_here(run_dir, store, promote, session.note)
    limits = Limits(
        rows=rows,
        characters=characters,
        seconds=seconds,
        requests=requests,
        queue_rows=queue_rows,
        batch_rows=batch_rows,
    )
    settings = ServeSettings(
        host=host, port=port, tokens=tokens, hosts=tuple(allow_host or ()), log_texts=log_texts, limits=limits
    )
    run(run_dir, store, settings, retention_days=retention_days, ads=ads or (), open_page=open_page, say=session.note)
