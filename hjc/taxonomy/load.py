"""Trees by name or by file."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

from hjc.taxonomy.csvio import read_taxonomy_csv
from hjc.taxonomy.tree import Taxonomy


@lru_cache(maxsize=1)
def isco08() -> Taxonomy:
    """ISCO-08: 10 / 43 / 130 / 436 groups with titles in en, pl, de, fr, es and uk.

    English names are those of the standard (ILO); the others are accurate equivalents, not always the official wording.
    """
    with as_file(files("hjc.taxonomy") / "isco08.csv.gz") as path:
        return read_taxonomy_csv(path, name="isco08")


#: name -> function that gives the built-in tree
BUILT_IN = {"isco08": isco08}


def load_taxonomy(spec: str | Path, digits: Sequence[int] | None = None) -> Taxonomy:
    """A built-in tree by name ("isco08"), or one from a CSV or TSV file (see :func:`read_taxonomy_csv`).

    Raises:
        FileNotFoundError: the name is neither built in nor a file.
        TaxonomyError: the file is not a tree.
    """
    if isinstance(spec, str) and spec in BUILT_IN:
        return BUILT_IN[spec]()
    if not Path(spec).is_file():
        raise FileNotFoundError(
            f"taxonomy: got {str(spec)!r}, allowed are {', '.join(map(repr, BUILT_IN))} "
            f"and the path of an existing CSV or TSV file"
        )
    return read_taxonomy_csv(spec, digits=digits)
