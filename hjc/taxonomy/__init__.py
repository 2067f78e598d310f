"""The tree of codes and the ways to build, read, check and describe one."""

from typing import TYPE_CHECKING

from hjc.errors import TaxonomyError
from hjc.plugins.lazy import lazy

if TYPE_CHECKING:
    from hjc.taxonomy.build import from_edges, from_prefix_codes
    from hjc.taxonomy.csvio import read_taxonomy_csv, write_taxonomy_csv
    from hjc.taxonomy.filecheck import Problem, check_taxonomy_file
    from hjc.taxonomy.load import isco08, load_taxonomy
    from hjc.taxonomy.spelling import RepairReport, explain_unknown, repair_codes
    from hjc.taxonomy.summary import TaxonomySummary, describe
    from hjc.taxonomy.tree import Taxonomy

__all__ = [
    "Problem",
    "RepairReport",
    "Taxonomy",
    "TaxonomyError",
    "TaxonomySummary",
    "check_taxonomy_file",
    "describe",
    "explain_unknown",
    "from_edges",
    "from_prefix_codes",
    "isco08",
    "load_taxonomy",
    "read_taxonomy_csv",
    "repair_codes",
    "write_taxonomy_csv",
]

__getattr__ = lazy(
    __name__,
    {
        "hjc.taxonomy.build": ("from_edges", "from_prefix_codes"),
        "hjc.taxonomy.csvio": ("read_taxonomy_csv", "write_taxonomy_csv"),
        "hjc.taxonomy.filecheck": ("Problem", "check_taxonomy_file"),
        "hjc.taxonomy.load": ("isco08", "load_taxonomy"),
        "hjc.taxonomy.spelling": ("RepairReport", "explain_unknown", "repair_codes"),
        "hjc.taxonomy.summary": ("TaxonomySummary", "describe"),
        "hjc.taxonomy.tree": ("Taxonomy",),
    },
)
