"""Typed settings of the linear classifier. Plain dataclass: no NumPy, no napkinXC, no Hydra; Hydra only fills it."""

from dataclasses import dataclass, field

from hjc.errors import check_choice, check_choices, check_range

CHOICES = {
    "name": ("linear",),
    "hierarchy": ("topdown", "bottomup", "plt", "flat_logreg"),
    "features": ("word", "char", "both"),
    "normal_form": ("NFKC", "NFC"),
    "dotless_i": ("fold", "turkish", "keep"),
    "tonos": ("fold", "keep"),
    "loss": ("log", "l2"),
    "inner_gold": ("auto", "drop"),
    "weights": ("exact", "ignore"),
    "unseen": ("floor", "estimated"),
}
SOLVERS = {"log": ("L2R_LR", "L2R_LR_DUAL"), "l2": ("L2R_L2LOSS_SVC", "L2R_L2LOSS_SVC_DUAL")}


@dataclass(kw_only=True, slots=True)
class LinearSettings:
    """What the model is: features, tree, estimator. Stored in config.json, so a loaded model predicts as trained."""

    #: the kind of model
    name: str = "linear"
    #: topdown: softmax among siblings (napkinXC HSM) | bottomup: one-versus-rest over leaves, renormalised (OVR) |
    #: plt: probabilistic label tree, renormalised | flat_logreg: multinomial logistic regression over leaves
    #: (scikit-learn), the reference for small trees
    hierarchy: str = "topdown"
    #: what codes a text before the model does: "" nothing | lookup: an index of titles (settings lookup.*)
    before: str = ""

    #: word n-grams, character n-grams within words, or both side by side
    features: str = "both"
    #: shortest and longest word n-gram
    word_ngrams: list[int] = field(default_factory=lambda: [1, 2])
    #: shortest and longest character n-gram; a word's edges count as one blank each
    char_ngrams: list[int] = field(default_factory=lambda: [2, 5])
    #: 1 + ln(tf) instead of tf
    sublinear_tf: bool = True
    #: drop n-grams that stand in fewer training texts
    min_df: int = 2
    #: keep only the most frequent n-grams of each block (0: all)
    max_features: int = 0
    #: hash n-grams into this many columns per block instead of a vocabulary (0: vocabulary); for very large data
    hashing: int = 0
    #: weight of the first line (the title, as texts are assembled) as a field of its own beside the whole text, whose
    #: weight is 1; 0 switches the field off
    lead_weight: float = 1.0
    #: weight of each side variable beside the text, whose weight is 1: the larger, the weaker its penalty
    side_weight: float = 0.1
    #: hash categories of side variables into so many columns (0: those of two training rows and more are listed)
    side_hashing: int = 0
    #: share of side variables that a training row is taught without, so that a missing one costs little later
    side_dropout: float = 0.3
    #: characters of a text that are read (0: all)
    max_chars: int = 20_000

    #: Unicode normal form: NFKC also unites compatibility forms (ligatures, full width, superscripts)
    normal_form: str = "NFKC"
    #: upper and lower case are the same
    casefold: bool = True
    #: what upper and lower case of i, dotted and dotless, become: fold (all one letter), turkish (I is the capital of
    #: ı, İ of i), keep (ı stays itself, I is the capital of i)
    dotless_i: str = "fold"
    #: the accent of Greek letters, which capitals are written without: fold (ά is α) | keep
    tonos: str = "fold"
    #: Snowball language or ISO 639-1 code for stemming in the word block ("": none); needs the `stemming` extra
    stemming: str = ""

    #: log: logistic | l2: squared hinge (its probabilities are a heuristic of napkinXC's)
    loss: str = "log"
    #: liblinear solver; "": the fastest repeatable one, that is L2R_LR_DUAL (log) or L2R_L2LOSS_SVC_DUAL (l2) with one
    #: thread, L2R_LR or L2R_L2LOSS_SVC with several. A dual solver on several threads gives other weights each time
    solver: str = ""
    #: inverse strength of the L2 penalty (liblinear's C; scikit-learn's C for flat_logreg)
    C: float = 30.0
    #: tolerance of the solver
    eps: float = 0.1
    #: passes of the solver at most
    max_iter: int = 100
    #: weights below this size are set to 0 (size on disk and speed against accuracy)
    threshold: float = 0.1
    #: topdown with loss log: scores of three and more siblings are multiplied by this before their softmax (1: as
    #: napkinXC). One-versus-rest scores are log-odds against all the others, which a softmax counts twice where two
    #: siblings compete: without it the probabilities are too sure
    score_scale: float = 0.8
    #: share of the training prior mixed into each conditional distribution (topdown) or into the leaf distribution
    #: (others), so that codes without training rows keep a declared probability
    floor: float = 0.02
    #: probability of codes without training rows: estimated (by leave-one-out from the numbers of rows of the others,
    #: see hjc/classifiers/unseen.py) | floor (their share of that prior)
    unseen: str = "estimated"
    #: rows whose gold is an inner node: auto (topdown trains the levels above, others drop them) | drop; always counted
    inner_gold: str = "auto"
    #: exact: integer ratios by repeating rows (flat_logreg: any weight), else an error | ignore
    weights: str = "exact"

    #: of the solver
    seed: int = 1
    #: threads of the solver (0: all); see solver
    threads: int = 1
    #: rows scored at once
    batch_size: int = 512

    def __post_init__(self) -> None:
        check_choices("model", self, CHOICES)
        if self.solver:
            check_choice(f"model.solver (for loss {self.loss})", self.solver, SOLVERS[self.loss])
        for name in ("word_ngrams", "char_ngrams"):
            span = list(getattr(self, name))
            right = len(span) == 2 and 1 <= span[0] <= span[1]
            check_range(f"model.{name}", span, right, "two integers [shortest, longest] from 1")
        for name in ("min_df", "max_iter", "batch_size"):
            check_range(f"model.{name}", value := getattr(self, name), value >= 1, "numbers from 1")
        for name in (
            "side_weight",
            "side_hashing",
            "max_features",
            "hashing",
            "max_chars",
            "threads",
            "seed",
            "lead_weight",
            "threshold",
        ):
            check_range(f"model.{name}", value := getattr(self, name), value >= 0, "numbers from 0")
        for name in ("C", "eps", "score_scale"):
            check_range(f"model.{name}", value := getattr(self, name), value > 0, "numbers above 0")
        check_range("model.side_dropout", self.side_dropout, 0 <= self.side_dropout < 1, "numbers from 0 and below 1")
        check_range("model.floor", self.floor, 0 <= self.floor < 1, "numbers from 0 and below 1")
        if self.hashing and self.max_features:
            raise ValueError("model.hashing and model.max_features exclude each other: set one of them to 0")

    @property
    def solver_used(self) -> str:
        """The liblinear solver that ``solver`` stands for."""
        if self.solver:
            return self.solver
        primal, dual = SOLVERS[self.loss]
        return dual if self.threads == 1 else primal
