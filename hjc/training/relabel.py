"""An embedding model put on another edition of the tree, without training; ``hjc relabel``."""

from pathlib import Path
from typing import Any

import yaml

from hjc.classifiers.load import PROVENANCE, load, training_record
from hjc.errors import name_some
from hjc.files import check_new_folder, write_text
from hjc.report.card import write_card
from hjc.taxonomy import Taxonomy


def relabel_model(run_dir: str | Path, tree: Taxonomy, output: str | Path) -> list[str]:
    """Write the model with the labels of ``tree``, known by their texts alone; sentences on what changed.

    Raises:
        FileExistsError: the folder is not empty. ValueError: the model knows codes by their numbers.
    """
    folder = Path(output)
    check_new_folder(folder)
    model = load(run_dir)
    model.for_taxonomy(tree).save_pretrained(folder)
    record = training_record(run_dir)
    values: dict[str, Any] = {"status": "relabelled"}
    values["relabelled_from"] = {"taxonomy": model.taxonomy.name, "hash": model.taxonomy.hash}
    values |= {key: record[key] for key in ("config", "data", "versions", "seed") if key in record}
    write_text(folder / PROVENANCE, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    write_card(output)
    old, new = set(model.taxonomy.leaf_codes), set(tree.leaf_codes)
    said = [f"{output}: {len(new):,} leaves of {tree.name}, {len(new & old):,} of them with codes as before"]
    said += [
        f"{what}: {name_some(sorted(codes))}" for what, codes in (("new", new - old), ("gone", old - new)) if codes
    ]
    if model.calibrator is not None:
        said.append("the calibration belongs to the old tree and was not taken along")
    return said
