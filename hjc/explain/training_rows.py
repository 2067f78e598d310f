"""The rows that a model was trained on, read again by its train.yaml, if they are still what they were."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hjc.classifiers.load import PROVENANCE, training_data_settings, training_record
from hjc.data import JobData, TextRecipe, load_job_data
from hjc.data.reading import read_job_data
from hjc.data.settings import DataSettings, SourceSettings
from hjc.data.splits import reject_reasons
from hjc.taxonomy import Taxonomy, load_taxonomy


def data_settings(stored: Mapping[str, Any], **changes: Any) -> DataSettings:
    """The settings in the ``data`` section of a train.yaml; keys that this hjc does not have are left out."""
    known = {f.name for f in fields(DataSettings)}
    values = {k: v for k, v in stored.items() if k in known} | changes
    own = {f.name for f in fields(SourceSettings)}
    sources = [{k: v for k, v in source.items() if k in own} for source in values.get("sources") or ()]
    values["sources"] = [SourceSettings(**source) for source in sources]
    return DataSettings(**values)


def training_rows(run_dir: str | Path, taxonomy: Taxonomy) -> JobData:
    """The training rows named in ``run_dir``/train.yaml, on the model's tree.

    Raises:
        ValueError: there is no train.yaml, the files are gone or cannot be read, or they hold other rows than those of
            the training (by SHA-256 of texts and codes). The message says what to do.
    """
    out = "give the training rows with --train FILE, or leave --neighbours out"
    record = training_record(run_dir)
    config = record.get("config") or {}
    wanted = ((record.get("data") or {}).get("train") or {}).get("hash")
    if not isinstance(config.get("data"), dict) or not wanted:
        raise ValueError(f"{run_dir} has no {PROVENANCE} that says what the model was trained on: {out}")
    tree_of = config.get("taxonomy") or {}
    try:
        tree = load_taxonomy(tree_of.get("path") or "isco08", digits=tree_of.get("digits"))
        data = load_job_data(data_settings(config["data"]), tree).train
    except (OSError, ValueError) as error:
        raise ValueError(f"the data that {PROVENANCE} names cannot be read ({error}): {out}") from error
    depth = int(tree_of.get("depth") or 0)
    data = (data.truncate(depth) if 0 < depth < tree.depth else data).labelled()
    if data.hash != wanted or data.taxonomy != taxonomy:
        raise ValueError(
            f"the data that {PROVENANCE} names are no longer those of the training ({len(data):,} rows now, "
            f"with another SHA-256 than {wanted[:12]}): {out}"
        )
    return data


def rows_of_file(
    path: str, run_dir: str | Path, taxonomy: Taxonomy, *, recipe: TextRecipe, code_column: str | None = None,
    **reading: Any,
) -> JobData:  # fmt: skip
    """The labelled rows of a file, read as in training; ``reading``: settings of the data (separator, encoding ...).

    Raises:
        FileNotFoundError, ValueError: no such file or column, or no row with a known code.
    """
    stored = training_data_settings(run_dir)
    kept = {k: stored[k] for k in ("restore_zeros", "code_width") if k in stored}
    code = code_column or ("" if stored.get("sample") else stored.get("code_column")) or "code"
    rows, rejects = read_job_data(path, taxonomy, data_settings(kept | reading, **recipe.settings(), code_column=code))
    if not len(rows.labelled()):
        raise ValueError(f"{path}: no row can be used: {reject_reasons(rejects, 3) or 'there are none'}")
    return rows.labelled()
