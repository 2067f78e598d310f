"""Official taxonomies from the files that their offices publish. One file per office; see ``hjc taxonomy import``.

Not imported by :mod:`hjc.taxonomy` itself: ``from hjc.taxonomy.readers import import_taxonomy``.
"""

# Importing an office's module registers its readers.
from hjc.taxonomy.readers import (  # noqa: F401
    esco,
    generic,
    isco08,
    kzis,
    noc2021,
    onet,
    rome,
    soc,
    ssyk2012,
    uk_soc,
)
from hjc.taxonomy.readers.registry import READERS, ImportOptions, Reader, import_taxonomy
from hjc.taxonomy.readers.result import KINDS, TITLE_KINDS, ImportedTaxonomy, ImportReport, Reject, Text

__all__ = [
    "KINDS",
    "READERS",
    "TITLE_KINDS",
    "ImportOptions",
    "ImportReport",
    "ImportedTaxonomy",
    "Reader",
    "Reject",
    "Text",
    "import_taxonomy",
]
