"""Typed settings of the lookup: plain dataclass, Hydra only fills it."""

from dataclasses import dataclass, field

from hjc.errors import check_choice, check_range

#: how a text may be found in the index, surest first
STAGES = ("exact", "stem", "tokens")
#: what ``model.before`` may be
BEFORE = ("", "lookup")


@dataclass(kw_only=True, slots=True)
class IndexSettings:
    """An index of titles: what is in it, and how a text is found there."""

    #: file of titles and codes (CSV and so on); "": none
    index: str = ""
    #: its column of titles
    index_text_column: str = "text"
    #: its column of codes
    index_code_column: str = "code"
    #: further codes of a title, and what lies between several in a cell
    index_other_codes_column: str = ""
    #: between several codes in a cell of these
    index_code_separator: str = ""
    #: its column of languages ("": none)
    index_language_column: str = ""
    #: the titles of the codes of the tree are in the index
    titles: bool = True
    #: training rows are in the index: all, or those of these sources only (data.sources with default_source)
    training: bool = True
    #: of these sources only, where training rows are in the index ([]: all)
    sources: list[str] = field(default_factory=list)
    #: exact: the same words after normalisation | stem: the same stems (needs the `stemming` extra) | tokens: nearly
    #: the same set of words, rare words counting more
    stages: list[str] = field(default_factory=lambda: ["exact", "tokens"])
    #: share of the words' weight that text and entry have in common (Jaccard), for the stage tokens
    least_score: float = 0.9
    #: language of titles that have none, for stems ("": no stems for them)
    language: str = ""
    #: look the first line up (the title) instead of the whole text
    lead: bool = True
    #: texts looked up at once
    batch_size: int = 512

    def __post_init__(self) -> None:
        for stage in self.stages:
            check_choice("lookup.stages", stage, STAGES)
        check_range("lookup.stages", self.stages, bool(self.stages), f"some of {', '.join(STAGES)}")
        check_range("lookup.least_score", self.least_score, 0 < self.least_score <= 1, "numbers above 0 and up to 1")
        check_range("lookup.batch_size", self.batch_size, self.batch_size >= 1, "integers from 1")


@dataclass(kw_only=True, slots=True)
class LookupSettings(IndexSettings):
    """The index as a model, alone or with another behind it. Stored in config.json."""

    #: the kind of model
    name: str = "lookup"
    #: its probabilities are those of the leaves
    hierarchy: str = "bottomup"
