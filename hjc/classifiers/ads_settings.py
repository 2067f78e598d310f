"""Typed settings of the classifier of ads, and what it tells of its fit. Plain dataclasses; Hydra only fills them."""

from dataclasses import dataclass, field, replace
from typing import Any

from hjc.classifiers.linear_settings import LinearSettings
from hjc.errors import check_choices, check_range

ADS_CHOICES = {
    "name": ("ads",),
    "hierarchy": ("topdown", "bottomup", "plt"),
    "unlabelled_stop": ("auto", "agreement", "never"),
}


@dataclass(kw_only=True, slots=True)
class AdsSettings:
    """A model that reads ads: title, body, and both, as pieces of evidence."""

    #: the kind of model
    name: str = "ads"
    #: of the linear model below, see LinearSettings
    hierarchy: str = "plt"
    #: the linear model that all pieces are given to
    linear: LinearSettings = field(default_factory=LinearSettings)
    #: run directories of further fitted models over the same tree, each one more piece of evidence; one that was
    #: trained with several text columns is given the whole ad, any other the title
    parts: list[str] = field(default_factory=list)
    #: a title that names several jobs is coded as a mixture of these and the whole
    several_jobs: bool = True
    #: uncoded ads (data.unlabelled) whose title is a name of one code are trained on with that code
    self_names: bool = True
    #: rounds in which uncoded ads (data.unlabelled) are trained on with the codes that the model gives them (0: none)
    self_training: int = 1
    #: of each code's ads the share, the surest first, that is trained on
    self_share: float = 0.5
    #: auto: what is learnt from uncoded ads is kept where coded validation ads become surely more probable, and without
    #: such ads only names teach | agreement: without them, where title and body agree as often as before | never: kept
    unlabelled_stop: str = "auto"
    #: probabilities are divided by the mean probability of their code among the uncoded ads to this power (0: not at
    #: all): codes that every ad looks like a little lose
    balance: float = 0.5
    #: rows with title and body: in training, from which bodies are used; in validation, from which weights are fitted
    least_bodies: int = 200
    #: rows with title and body that validation must have for the weights to be fitted on it
    least_validation: int = 40
    #: where validation rows with title and body are few, training rows of their source help to weigh title and body: so
    #: many further linear models are trained, each without a part of these rows (0: none)
    cross_fit: int = 3
    #: these training rows calibrate too, with what the further models say; not where they are unlike the rows to come
    cross_calibrate: bool = True
    #: parts have not seen the coded ads that train, so these help to weigh all the same (hjc learn sets it)
    unseen_by_parts: bool = False
    #: names that are placed at most in the space of a part that reads titles and has an encoder: those near a title are
    #: one more piece of evidence (0: none)
    near_names: int = 50_000
    #: of the linear models and of the parts
    seed: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.linear, dict):  # as a config.json has it
            self.linear = LinearSettings(**self.linear)
        check_choices("model", self, ADS_CHOICES)
        check_range("model.self_share", self.self_share, 0 < self.self_share <= 1, "above 0 to 1")
        check_range("model.balance", self.balance, 0 <= self.balance <= 1, "0 to 1")
        for name in ("self_training", "least_bodies", "least_validation", "cross_fit", "near_names"):
            check_range(f"model.{name}", value := getattr(self, name), value >= 0, "integers from 0")

    def linear_settings(self) -> LinearSettings:
        """Those of the linear model, with the hierarchy."""
        changes: dict[str, Any] = {"hierarchy": self.hierarchy}
        return replace(self.linear, **changes)


@dataclass
class AdsFit:
    """What was done: ``weights`` of the pieces for ads with title and body, how they were found, what was tried to
    learn from uncoded ads (``rounds``), and of how usual codes are (``usual``)."""

    status: str = "finished"
    rows_with_body: int = 0
    weights: dict[str, float] = field(default_factory=dict)
    weights_from: str = ""
    #: of the ads that weights were fitted on, a line for each share of the way from the title alone to all pieces
    steps: list[dict[str, Any]] = field(default_factory=list)
    unlabelled: int = 0
    rounds: list[dict[str, Any]] = field(default_factory=list)
    usual: list[dict[str, Any]] = field(default_factory=list)
    #: rows that trained and calibrate too
    cross_fitted: int = 0
