"""``hjc label``: silver labels for texts without codes, from language models that must agree."""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    AllText,
    Computing,
    Endpoint,
    OutputFile,
    Prefix,
    Reading,
    RunDir,
    Source,
    TextColumns,
    Writing,
)


def label(
    run_dir: RunDir,
    source: Source,
    output: OutputFile,
    model: Annotated[list[str], typer.Option("--model", help="Chat model, as the endpoint knows it; two must agree.")],
    *,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="Prompt of a judge: a built-in name or a .txt file; repeatable."),
    ] = None,
    text_column: TextColumns = None,
    all_text: AllText = False,
    top_k: Annotated[int, typer.Option("-k", "--top-k", help="Candidates of each text, from the model.")] = 10,
    language: Annotated[str | None, typer.Option(help="Language of the candidates' titles.")] = None,
    audit_code_column: Annotated[
        str | None, typer.Option(help="Codes that people gave to some rows: they are compared, not labelled.")
    ] = None,
    weight: Annotated[float, typer.Option(help="Of a silver row in training, where no audit says it.")] = 0.5,
    prefix: Prefix = "label_",
    endpoint: Endpoint,
    reading: Reading,
    computing: Computing,
    writing: Writing,
) -> None:
    """Give texts silver labels: a model of ours names candidates, two chat models or prompts choose and must agree.

    The model reads the columns that it knows (as in hjc predict), the judges all of them.

    A row gets a label only where all judges chose the same code. New columns: label_code, label_title, label_source
    (silver), label_weight, label_status, label_confidence, label_judge_1 ... Rows with a code of people
    (--audit-code-column) are an audit: agreement is printed, and the weight is the share of right labels among them.
    What it may take is said before a request is sent; answers are kept, so that a stopped run goes on where it was.
    """
    from contextlib import ExitStack
    from dataclasses import asdict
    from itertools import product

    import numpy as np

    from hjc.apply.label import candidates_of, label_rows, new_columns
    from hjc.apply.loop import Columns
    from hjc.apply.predict import check_free
    from hjc.apply.step import recipe_of
    from hjc.cli.streams import chosen, fitting
    from hjc.corpus.cache import AnswerCache
    from hjc.data.recipe import OK
    from hjc.errors import check_choice
    from hjc.progress import rows_progress
    from hjc.rerank.chat import ChatClient
    from hjc.rerank.chat_questions import ChatReranker
    from hjc.rerank.judges import check_judges, estimate
    from hjc.tables import check_output, format_of, read_rows, write_frame
    from hjc.taxonomy.spelling import check_classification, repair_codes

    kind = format_of(output, writing.format, writing=True)
    check_choice("--format", kind, ("csv", "tsv", "jsonl", "parquet", "xlsx"))
    check_output(output, source, overwrite=writing.overwrite)
    prompts = prompt or (["rerank", "rerank_second"] if len(model) == 1 else ["rerank"])
    settings = [endpoint.settings(name, output) for name in model]
    table = read_rows(source, reading.of(source))
    frame = table.whole()
    check_free(new_columns(prefix, len(model) * len(prompts)), table.columns)
    recipe = recipe_of(run_dir, text_column)
    positions = Columns(recipe).among(table.columns, table.name)
    table.check_columns(filter(None, [audit_code_column]))
    classifier = computing.model(run_dir)
    columns = fitting(Columns(recipe), classifier, all_text)
    by_name = {name: table.cells(at) for name, at in positions.items()}
    cells = [by_name[name] for name in recipe.columns]
    texts, status = recipe.read(cells)  # of all columns, for the judges
    known, _ = recipe.read(cells if columns.kind is None else columns.kind.choose(recipe, cells), by_name)
    people = None
    if audit_code_column:
        codes, spelling = repair_codes(classifier.taxonomy, frame[audit_code_column].tolist(), asking="nobody")
        check_classification(classifier.taxonomy, spelling, source, classifier.taxonomy.name)
        people = np.array([classifier.taxonomy.index_of.get(code, -1) for code in codes], dtype=np.int64)
        session.note(str(spelling) if spelling else "")
    usable = [i for i, why in enumerate(status) if why == OK]
    found = candidates_of(classifier, [known[i] for i in usable], top_k, language)
    session.note(chosen(columns))
    with ExitStack() as stack:
        cache = AnswerCache(None if endpoint.dry_run else settings[0].cache)
        clients = [stack.enter_context(ChatClient(s, cache=cache)) for s in settings]
        judges = [
            ChatReranker(client, prompt=name, salt=str(number) if number else "")
            for number, (client, name) in enumerate(product(clients, prompts))
        ]
        check_judges(judges)
        expected = estimate(judges, [texts[i] for i in usable], found)
        session.note(f"{len(usable):,} of {len(texts):,} texts, {len(judges)} judges: {expected.sentence()}")
        if endpoint.dry_run:
            session.tell(expected=asdict(expected))
            return
        with rows_progress("labelling", len(usable)) as bar:
            done = label_rows(
                classifier, judges, texts, status, dict(zip(usable, found, strict=True)), people=people, weight=weight,
                prefix=prefix, told=bar.advance,
            )  # fmt: skip
        used = [client.budget.report() for client in clients]
    write_frame(frame.assign(**done.columns), output, kind, safe_cells=writing.safe_cells)
    if done.audit is not None:
        heads = ("level", "units", "all agree", "pairs agree", "Fleiss", "alpha")
        session.show_table("audit", "agreement of people and silver labels", heads, done.audit.lines())
    session.tell(rows=len(texts), counts=dict(done.counts), weight=done.weight, used=used)
    facts = {
        "command": "label", "input": source, "rows_in": len(texts), "models": model, "prompts": prompts, "top_k": top_k,
        "endpoint": endpoint.endpoint, "counts": dict(done.counts), "no_answer": dict(done.why),
        "weight": done.weight, "audited": done.audited,
        "audited_right": done.right, "used": used,
        "audit": None if done.audit is None else done.audit.pairs.to_dict("records"),
    }  # fmt: skip
    session.finish(output, facts, [*done.sentences(), f"{len(texts):,} rows -> {output}"])
