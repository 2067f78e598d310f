"""``hjc data agreement`` and ``hjc data suspicious``: how good are the labels?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hjc.cli import options

if TYPE_CHECKING:
    from pandas import DataFrame

_TAXONOMY = typer.Option(help="isco08, a CSV or TSV of codes, or a model directory.")
_DIGITS = typer.Option(help="Cumulative code lengths when parents are prefixes, e.g. 1,2,3,4,6.")


def agreement(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Table of codes by several coders.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Folder for the tables.")],
    code_column: Annotated[
        list[str] | None,
        typer.Option("-c", "--code-column", help="One: a line a unit and coder; repeated: a column a coder."),
    ] = None,
    unit_column: Annotated[str, typer.Option(help="Column that names the unit (one code column).")] = "id",
    coder_column: Annotated[str, typer.Option(help="Column that names the coder; none: not known by name.")] = "",
    weight_column: Annotated[str, typer.Option(help="Survey weight of the unit.")] = "",
    stratum_column: Annotated[str, typer.Option(help="Stratum of the unit.")] = "",
    taxonomy: Annotated[str, _TAXONOMY] = "isco08",
    digits: Annotated[str | None, _DIGITS] = None,
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
) -> None:
    """Agreement at each level with intervals, Cohen's and Fleiss' kappa, Krippendorff's alpha, confusion at level 1."""
    with options.one_message():
        import numpy as np
        import pandas as pd
        from rich.console import Console
        from rich.table import Table

        from hjc.cli.data.tables import tree_of, write_log, write_rejects
        from hjc.corpus.agreement import agreement as measure
        from hjc.corpus.agreement import ratings_from_long
        from hjc.data.splits import no_rejects
        from hjc.errors import name_some
        from hjc.tables.whole import read_rows
        from hjc.taxonomy.spelling import check_classification, repair_codes

        tree, given = tree_of(taxonomy, digits), read_rows(source)
        frame, left_out = given.whole(), [no_rejects()]
        frame.index = pd.Index(given.line)
        names = code_column or ["code"]
        wide = len(names) > 1
        if not wide and unit_column not in frame.columns:
            raise ValueError(f"{source}: no column {unit_column!r}; give --unit-column")
        given.check_columns([*names, *filter(None, (weight_column, stratum_column, coder_column))])
        rows_in, rejected = len(frame), {}
        for name in [] if wide else [unit_column, *filter(None, [coder_column])]:
            blank = frame[name].str.strip() == ""
            if blank.any():  # they would all be one unit, or one more coder
                rejected[f"no {name}"] = int(blank.sum())
                left_out.append(_rejects(source, frame[blank], f"no {name}", unit_column, ""))
                frame = frame[~blank]
        for reason, count in rejected.items():
            options.note(f"{count:,} rows have {reason} and are left out")
        unit = [str(i) for i in range(len(frame))] if wide else frame[unit_column].tolist()
        cells = [c for n in names for c in frame[n]]
        people = [n for n in names for _ in unit] if wide else frame[coder_column].tolist() if coder_column else None
        mended, spelling = repair_codes(tree, cells)
        check_classification(tree, spelling, source, tree.name)
        ratings, units, columns, unknown = ratings_from_long(tree, unit * len(names), people, mended)
        coders = None if people is None else columns
        first = np.array(_first(unit), dtype=np.int64)
        if spelling:
            options.note(str(spelling))
        if unknown:
            options.note(f"{len(unknown)} codes are not in {tree.name!r} and count as missing: {name_some(unknown)}")
        weights = strata = None
        if weight_column:
            _one_value(unit, frame[weight_column].tolist(), first, "--weight-column", weight_column)
            try:
                weights = frame[weight_column].to_numpy(dtype=str)[first].astype(float)
            except ValueError as error:
                raise ValueError(f"--weight-column: {error}; numbers are needed") from None
        if stratum_column:
            _one_value(unit, frame[stratum_column].tolist(), first, "--stratum-column", stratum_column)
            strata = np.unique(frame[stratum_column].to_numpy(dtype=str)[first], return_inverse=True)[1]
        result = measure(tree, ratings, coders, weights=weights, strata=strata, confidence=confidence)
        usable = {"", *(old for old, new in zip(cells, mended, strict=True) if new in tree.index_of)}
        for name in names if unknown else []:
            strange = frame[~frame[name].isin(usable)]
            why = [f"unknown code: {spelling.reasons.get(value, 'not in the tree')}" for value in strange[name]]
            left_out.append(_rejects(source, strange, why, "" if wide else unit_column, name))
        result.write(output)
        write_rejects(output, left_out)
        coded = np.bincount((ratings >= 0).sum(axis=1), minlength=ratings.shape[1] + 1)
        write_log(
            f"{output}/log.json", command="agreement", input=source, rows_in=rows_in, rows_used=len(frame),
            rejected=rejected, units=len(units), coders=coders,
            units_by_number_of_codes=dict(enumerate(coded.tolist())), codes={"read": len(cells), **spelling.counts},
            unknown_codes=unknown, repaired_codes=spelling.changed,
            weight_column=weight_column or None, stratum_column=stratum_column or None, confidence=confidence,
        )  # fmt: skip
        table = Table("level", "units", "all agree", "pairs agree", "Fleiss", "alpha", title=f"{len(units):,} units")
        for row in result.overall.to_dict("records"):
            table.add_row(
                str(row["level"]), f"{row['units']:,}",
                *(f"{row[k]:.3f} ({row[f'{k}_low']:.3f}, {row[f'{k}_high']:.3f})"
                  for k in ("all_agree", "pairwise", "fleiss", "alpha")),
            )  # fmt: skip
        Console(highlight=False).print(table)
        options.note(f"pairs.csv, overall.csv, confusion.csv, rejects.csv and log.json in {output}")


def _rejects(source: str, rows: "DataFrame", reason: str | list[str], unit: str, code: str) -> "DataFrame":
    """Lines of a table (its index) as rejects."""
    return rows.assign(
        file=source, row=rows.index, id=rows[unit] if unit else "", reason=reason, value=rows[code] if code else ""
    )[["file", "row", "id", "reason", "value"]]


def _one_value(units: list[str], values: list[str], first: "Any", option: str, column: str) -> None:
    """A survey weight or stratum is that of the unit: all lines of a unit must say the same.

    Raises:
        ValueError: two lines of a unit differ.
    """
    of_unit = {units[i]: values[i].strip() for i in first.tolist()}
    for name, value in zip(units, values, strict=True):
        if value.strip() != of_unit[name]:
            raise ValueError(
                f"{option}: unit {name!r} has {column!r} {of_unit[name]!r} in one line and {value.strip()!r} in "
                "another; it must be the same for all codes of a unit"
            )


def _first(units: list[str]) -> "list[int]":
    """The first line of each unit, in the order of units."""
    place: dict[str, int] = {}
    for i, unit in enumerate(units):
        place.setdefault(unit, i)
    return list(place.values())


def suspicious(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Labelled table.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Folder for the lists.")],
    text_column: Annotated[list[str] | None, typer.Option("-t", "--text-column", help="Text; repeatable.")] = None,
    code_column: Annotated[str, typer.Option("-c", "--code-column", help="Column with the code.")] = "code",
    id_column: Annotated[str, typer.Option(help="Column that names the row.")] = "",
    group_column: Annotated[str, typer.Option(help="Groups that stay in one fold, such as prep_group.")] = "",
    taxonomy: Annotated[str, _TAXONOMY] = "isco08",
    digits: Annotated[str | None, _DIGITS] = None,
    level: Annotated[int | None, typer.Option("-l", "--level", help="Level of the codes (deepest).")] = None,
    folds: Annotated[int, typer.Option(help="Parts of the cross-validation.")] = 5,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Setting of the linear classifier.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 1,
) -> None:
    """List labels that a cross-validated linear classifier doubts (confident learning), most doubtful first."""
    with options.one_message():
        import dataclasses

        import numpy as np

        from hjc.classifiers.linear import LinearClassifier
        from hjc.classifiers.linear_settings import LinearSettings
        from hjc.cli.data.tables import account, note_rejects, read_labelled, tree_of, write_log, write_rejects
        from hjc.corpus.suspicious import find_suspicious, out_of_fold

        tree = tree_of(taxonomy, digits)
        part = read_labelled(
            source, tree, text_column or ["text"], code_column, id_column=id_column, group_column=group_column
        )
        note_rejects(part, source)
        data = part.data
        if part.group is not None:
            given = np.unique(part.group.astype(str), return_inverse=True)[1]
            alone = np.arange(len(data)) + given.max(initial=0) + 1  # rows without a group are in none
            data = dataclasses.replace(data, group=np.where(part.group == "", alone, given))
        settings = LinearSettings(**_settings(setting or []))
        scores = out_of_fold(
            data, lambda t: LinearClassifier(t, settings), level=level, folds=folds, seed=seed,
            progress=lambda done, total: options.note(f"fold {done} of {total}"),
        )  # fmt: skip
        result = find_suspicious(data, scores)
        result.write(output)
        write_rejects(output, [part.rejects])
        write_log(
            f"{output}/log.json", command="suspicious", input=source, level=scores.level, folds=folds, seed=seed,
            settings=dataclasses.asdict(settings), **account(part), **result.counts,
        )  # fmt: skip
        c = result.counts
        options.note(
            f"{c['suspicious']:,} of {c['scored']:,} labels are suspicious; {c['untestable']:,} rows have a code "
            f"that no other fold has, {c['too_coarse']:,} a code above the level -> {output.rstrip('/')}/suspicious.csv"
        )


def _settings(pairs: list[str]) -> dict[str, Any]:
    import yaml

    from hjc.classifiers.linear_settings import LinearSettings

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--set: got {pair!r}, expected KEY=VALUE such as features=word")
        found[name] = yaml.safe_load(value)
    allowed = LinearSettings.__dataclass_fields__
    if unknown := [name for name in found if name not in allowed]:
        raise ValueError(f"--set: no setting {unknown[0]!r}; settings are {', '.join(allowed)}")
    return found
