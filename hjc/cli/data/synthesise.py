"""``hjc data synthesise``: titles and short ads for codes without rows, written by a language model."""

from typing import Annotated

import typer

from hjc.cli import session
from hjc.cli.aliases import (
    CodeColumn,
    CorpusTextColumns,
    Digits,
    Endpoint,
    OutputFile,
    Overwrite,
    Reading,
    Source,
    Taxonomy,
    taxonomy_of,
)


def synthesise(
    source: Source,
    output: OutputFile,
    model: Annotated[str, typer.Option("--model", help="Chat model, as the endpoint knows it.")],
    test: Annotated[
        list[str], typer.Option("--test", help="Table of validation or test rows, which are protected; repeatable.")
    ],
    *,
    code_column: CodeColumn = "code",
    text_column: CorpusTextColumns = None,
    taxonomy: Taxonomy = "isco08",
    digits: Digits = None,
    least: Annotated[int, typer.Option(min=1, help="Codes with fewer training rows are written for.")] = 1,
    per_code: Annotated[int, typer.Option(min=1, help="Ads of a code.")] = 3,
    language: Annotated[str, typer.Option(help="Language of the ads, and of the titles shown.")] = "en",
    weight: Annotated[float, typer.Option(help="Of such a row in training.")] = 0.25,
    similar: Annotated[float, typer.Option(help="Similarity to a test row from which a text is refused.")] = 0.8,
    prompt: Annotated[str, typer.Option(help="A built-in name or a .txt file.")] = "synthesise",
    overwrite: Overwrite = False,
    endpoint: Endpoint,
    reading: Reading,
) -> None:
    """Have a chat model write ads for the codes that the training rows INPUT lack: marked, for training only.

    Every row has the source synthetic_ad: reading data refuses it in validation and test files. Texts that are equal or
    nearly equal to a row of --test are refused and counted.
    """
    from hjc.corpus.synthetic import checked, codes_without_rows
    from hjc.errors import check_range
    from hjc.rerank.chat import ChatClient
    from hjc.rerank.writing import AdWriter
    from hjc.tables import check_output, format_of, read_rows, write_frame

    check_range("--weight", weight, 0 < weight <= 1, "above 0 to 1")
    check_range("--similar", similar, 0 < similar <= 1, "above 0 to 1")
    kind = format_of(output, None, writing=True)
    check_output(output, source, overwrite=overwrite)
    settings, tree, columns = endpoint.settings(model, output), taxonomy_of(taxonomy, digits), text_column or ["text"]
    table = read_rows(source, reading.of(source))
    table.check_columns([code_column])
    nodes = codes_without_rows(tree, [code.strip() for code in table.column(code_column).tolist()], least)
    if not nodes:
        raise ValueError(f"{source}: every code of {tree.name!r} has {least} rows or more; give a higher --least")
    protected: list[str] = []
    for path in test:
        held = read_rows(path, reading.of_other(path, None).of(path))
        held.check_columns(columns)
        cells = [held.column(name).tolist() for name in columns]
        protected += ["\n".join(filter(None, parts)) for parts in zip(*cells, strict=True)]
        protected += [value for value in cells[0] if value.strip()] if len(columns) > 1 else []
    with ChatClient(settings) as client:
        writer = AdWriter(client, prompt)
        expected = client.estimate(writer.request(tree, node, per_code, language) for node in nodes)
        session.note(f"{len(nodes):,} codes have fewer than {least} rows: {expected.sentence()}")
        if endpoint.dry_run:
            return
        found, failed = writer.write(tree, nodes, per_code, language)
        used = client.budget.report()
    done = checked(found, protected, language=language, weight=weight, threshold=similar)
    write_frame(done.rows, output, kind)
    refused = ", ".join(f"{why} {rows:,}" for why, rows in done.refused.most_common())
    notes = [f"{len(failed):,} codes got no ads: {'; '.join(failed[:3])}"] * bool(failed)
    notes += [f"refused: {refused}"] * bool(refused)
    notes.append(f"{len(done.rows):,} ads of {done.rows['code'].nunique():,} codes, source synthetic_ad -> {output}")
    facts = {
        "command": "synthesise", "input": source, "model": model, "endpoint": endpoint.endpoint, "codes": len(nodes),
        "per_code": per_code, "rows_out": len(done.rows), "refused": dict(done.refused), "failed": failed, "used": used,
        "protected": len(protected), "similar": similar, "language": language,
    }  # fmt: skip
    session.finish(output, facts, notes)
