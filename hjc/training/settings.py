"""The typed settings of a run, from files to an evaluated model: plain dataclasses, which Hydra only fills."""

from dataclasses import dataclass, field
from typing import Any

from hjc.classifiers import SETTINGS, classifier_settings
from hjc.classifiers.lookup_settings import BEFORE, IndexSettings
from hjc.data.settings import DataSettings
from hjc.errors import check_choice, check_range
from hjc.nn.settings import TrainerSettings

#: what OmegaConf takes for a value that is still to be given
MISSING: Any = "???"
OUTPUTS = ("plain", "tables", "json", "none")


class ConfigError(ValueError):
    """The command line or a YAML file asks for something that does not exist. The message is meant for the user."""


@dataclass(kw_only=True, slots=True)
class TaxonomySettings:
    """Which tree."""

    #: "isco08" (built in), or a CSV/TSV of codes (columns code, parent, title_xx...)
    path: str = "isco08"
    #: cumulative code lengths when the parents are prefixes, e.g. [1,2,3,4,6]; None: the file has a parent column
    digits: list[int] | None = None
    #: cut the tree to this many levels and project the gold codes (0: whole tree)
    depth: int = 0

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("taxonomy.path: no file is given; set taxonomy.path=FILE.csv (or choose taxonomy=isco08)")
        if self.depth < 0:
            raise ValueError(f"taxonomy.depth: got {self.depth}, allowed are 0 (whole tree) or a number of levels")


@dataclass(kw_only=True, slots=True)
class EvaluationSettings:
    """How the validation rows and every test set are scored after training."""

    #: bootstrap resamples of the 95 % intervals (0: none)
    bootstrap: int = 1000
    #: row attributes to slice by
    slices: list[str] = field(default_factory=lambda: ["language", "source"])
    #: of the bootstrap
    seed: int = 0
    #: fit a calibrator on the validation rows and keep it, their outcomes (for thresholds and conformal sets) and a
    #: drift profile with the model; predictions use it only when asked (hjc predict --calibrated)
    calibrate: bool = True
    #: fit a head for texts of several codes beside the model, from rows that have several (several.npz); the model must
    #: place texts in a space (linear, neural, static and embedding models)
    several: bool = False
    #: write report.html and plots/ into the run directory
    report: bool = True
    #: quote texts of the validation and test rows in the report; false when it is shared and they are not
    examples: bool = True

    def __post_init__(self) -> None:
        if self.bootstrap < 0:
            raise ValueError(f"evaluation.bootstrap: got {self.bootstrap}, allowed are integers from 0")
        for name in self.slices:
            check_choice("evaluation.slices", name, ("language", "source"))


@dataclass(kw_only=True, slots=True)
class SecondSettings:
    """A second classification of the same texts, trained in one run over one encoder: a model directory of its own."""

    #: column with its codes; "": there is none
    code_column: str = ""
    #: its tree, as taxonomy.path, taxonomy.digits and taxonomy.depth say the first
    path: str = ""
    #: cumulative code lengths when its parents are prefixes; None: the file has a parent column
    digits: list[int] | None = None
    #: cut it to this many levels (0: whole tree)
    depth: int = 0
    #: how much its loss counts beside that of the first
    share: float = 1.0
    #: its model directory; "": run_dir with "_second" behind it
    run_dir: str = ""

    def __post_init__(self) -> None:
        if bool(self.code_column) != bool(self.path):
            raise ValueError("second: give both second.code_column=NAME and second.path=TREE (isco08 or a file)")
        check_range("second.share", self.share, 0 < self.share < float("inf"), "numbers above 0")


@dataclass(kw_only=True, slots=True)
class Config:
    """One training run, from the files to the evaluated model directory."""

    #: NeuralSettings or LinearSettings; which one, ``model.name`` says
    model: Any = MISSING
    #: which tree
    taxonomy: TaxonomySettings = field(default_factory=TaxonomySettings)
    #: files, columns, splits
    data: DataSettings = field(default_factory=DataSettings)
    #: how it is fitted
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    #: how it is scored
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    #: the index of titles that stands before the model, with model.before=lookup (model=lookup has it as model.*)
    lookup: IndexSettings = field(default_factory=IndexSettings)
    #: a second classification of the same texts
    second: SecondSettings = field(default_factory=SecondSettings)
    #: of the training; another seed is another run
    seed: int = 1
    #: what is printed: plain (a few sentences) | tables (every table) | json (one object on standard output) | none
    output: str = "plain"
    #: part of the default run directory's name
    name: str = "run"
    #: the model directory that the run writes; an existing one with the same settings is continued
    run_dir: str = MISSING

    def __post_init__(self) -> None:
        check_choice("output", self.output, OUTPUTS)
        before = getattr(self.model, "before", "")
        check_choice("model.before", before, BEFORE)
        if not before and self.lookup != IndexSettings():
            raise ValueError(
                "lookup.*: no index stands before this model; give model.before=lookup "
                "(model=lookup has these settings as model.*, as in model.index=titles.csv)"
            )


#: classifier name -> its settings; a YAML file of ``model/`` has the schema ``<name>_schema`` in its defaults list
MODELS: dict[str, type[Any]] = {name: classifier_settings(name) for name in SETTINGS}
#: section of the configuration -> the dataclasses that may fill it
SECTIONS: dict[str, tuple[type[Any], ...]] = {
    "model": tuple(MODELS.values()),
    "taxonomy": (TaxonomySettings,),
    "data": (DataSettings,),
    "trainer": (TrainerSettings,),
    "evaluation": (EvaluationSettings,),
    "lookup": (IndexSettings,),
    "second": (SecondSettings,),
}
#: groups that fill a part of another section
EXTRA_GROUPS = ("hierarchy", "encoder", "logger", "experiment")
