"""Are the rows that pass through a model new to it, and of the kind it was made for? Where they are not, it is said.

``evaluate``, ``estimate``, ``review`` and ``predict`` show their rows to a :class:`Watch` as they go by.
"""

from collections.abc import Sequence

import numpy as np

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.paths import model_root
from hjc.decision import check_exchangeability
from hjc.errors import name_some
from hjc.evaluation.drift_profile import PROFILE_FILE, read_profile
from hjc.evaluation.training_texts import TrainingTexts, overlap
from hjc.evaluation.validation_scores import SCORES_FILE, ValidationScores
from hjc.metrics import LevelProba
from hjc.statistics.drift import DriftReport, Profile, compare_profiles

#: rows from which the length and language of texts are judged, and from which a drift report is no play of chance
LEAST_ROWS, REPORT_ROWS = 30, 200
#: confidences that are compared
MOST_COMPARED = 20_000
#: of a larger batch an even random sample of so many rows is looked at
SAMPLE = 500
#: texts are of another kind where their median length is more than so many times that of validation rows, or less than
#: this part of it, or where more than this share is in languages that validation rows did not have
LONGER, SHORTER, FOREIGN = 2.5, 1 / 6, 0.5
#: where the model knows hardly a word of more than this share of the rows, and of so many times that of the validation
#: rows, they may be in a language that it has not learnt
STRANGE, TIMES = 0.35, 3.0
#: a model whose validation rows have no letter in more than this share was made for such texts
NUMBERS = 0.2
#: a difference in distribution that coverage hardly feels; with thousands of rows smaller ones are significant too
SMALL = 0.05
#: checks of a drift report that make no other kind of texts: which rows there are, and lengths, for which see above
APART = ("language mix", "predicted shares", "text length")


def unproven(rows: int) -> str:
    """A sentence where so many validation rows say hardly anything of a model's probabilities, else ""."""
    if rows >= LEAST_ROWS:
        return ""
    behind = f"only {rows} validation row{'s stand' if rows > 1 else ' stands'}" if rows else "no validation row stands"
    return f"{behind} behind this model: nobody can say whether its probabilities are right for rows like these"


class Watch:
    """Rows on their way through a model, compared with what lies beside it of its training and validation rows.

    Args:
        count: count the rows that were trained on.
        scores: log-probabilities are shown too.

    Attributes:
        rows, trained, validated: rows seen, and how many of their texts were trained and validated on.
    """

    def __init__(self, model: Classifier, *, count: bool = True, scores: bool = True) -> None:
        base, folder, calibrated = model.uncalibrated, model.directory, model is not model.uncalibrated
        self.rows = self.trained = self.validated = 0
        self.profile = Profile(base.taxonomy, oov=base.oov_share if base.has_vocabulary else None)
        self._any_length = base.any_length
        self._calibrated, self._confidence = calibrated, list[Float64]()
        self._rng = np.random.default_rng(0)
        self._known: TrainingTexts | None = None
        self._reference: Profile | None = None
        self._validation: ValidationScores | None = None
        if folder is None or not folder.is_dir():
            return
        if count:
            self._known = TrainingTexts.load(folder)
        if not (model_root(folder) / PROFILE_FILE).exists():
            return
        self._reference, of = read_profile(folder, base.taxonomy)
        if scores and of != "training" and (model_root(folder) / SCORES_FILE).exists():
            self._validation = ValidationScores.load(folder, base.taxonomy)
        if of == "training":
            self._reference.oov[:] = 0  # the model knows all their words
        if of == "training" or (calibrated and self._validation is None):
            self._reference.set_scores(np.empty((0, base.taxonomy.depth)), [])
        elif calibrated and self._validation is not None:  # the profile is of raw probabilities
            kept, levels = self._validation, range(1, base.taxonomy.depth + 1)
            priors = [kept.prior(level, calibrated) * len(kept) for level in levels]
            self._reference.set_scores(kept.outcomes(calibrated).confidence, priors)

    def see(
        self, at: IntArray, texts: Sequence[str], languages: Sequence[str] | None, log_proba: FloatArray | None = None
    ) -> None:
        """A batch: positions ``at`` (B,) of texts and, where known, languages; leaf log-probabilities (B, L)."""
        self.rows += len(at)
        if self._known is not None:
            trained, validated = self._known.seen([texts[i] for i in at.tolist()])
            self.trained, self.validated = self.trained + int(trained.sum()), self.validated + int(validated.sum())
        if self._reference is None or not len(at):
            return
        # by chance, not every fifth: rows come in turns (of languages, say)
        drawn = np.arange(len(at))
        if len(at) > SAMPLE:
            drawn = np.sort(self._rng.choice(len(at), SAMPLE, replace=False))
        some = at[drawn].tolist()
        spoken = [languages[i] or "und" for i in some] if languages is not None and any(languages) else None
        x = None if log_proba is None else log_proba[drawn]
        self.profile.update(x, texts=[texts[i] for i in some], languages=spoken)
        if x is not None and self._validation is not None and sum(map(len, self._confidence)) < MOST_COMPARED:
            self._confidence.append(LevelProba.of(self.profile.taxonomy, x).confidence)

    # ------------------------------------------------------------------ what is found

    @property
    def reads_numbers(self) -> bool:
        """Whether many of the validation rows have no letter either."""
        known = self._reference
        return known is not None and known.letterless > NUMBERS * known.rows

    def kind(self) -> str:
        """A sentence where the texts are of another kind than those of the validation rows, else ""."""
        old, new = self._reference, self.profile
        if old is None or new.rows < LEAST_ROWS:
            return ""
        if foreign := [name for name in new.languages if old.languages and not old.languages[name] and name != "und"]:
            share = sum(new.languages[name] for name in foreign) / new.languages.total()
            if share > FOREIGN:
                return (
                    f"{share:.0%} of the rows are in languages that the validation rows did not have "
                    f"({name_some(sorted(foreign))}). Codes of such texts are often wrong: train on such texts"
                )
        if not (factor := new.median_characters / old.median_characters) > LONGER and not factor < SHORTER:
            return _strange(old.oov, new.oov)
        unit, sizes = "words", (old.median_words, new.median_words)
        if not abs(sizes[1] - sizes[0]) > 0:  # an older profile, or a language without blanks
            unit, sizes = "characters", (old.median_characters, new.median_characters)
        if self._any_length:
            return (
                f"validated on texts of {sizes[0]:.0f} {unit} (median); these have {sizes[1]:.0f}. The model reads "
                "both, but its calibration, thresholds and figures are those of its validation rows. Go on with coded "
                "rows of this kind (hjc learn), or score some (hjc evaluate)"
            )
        way = "code by the title alone (-t title)" if factor > 1 else "give all columns that it was trained on"
        return (
            f"trained on texts of {sizes[0]:.0f} {unit} (median); these have {sizes[1]:.0f}. Codes of such "
            f"texts are often wrong: {way}, or train on such texts"
        )

    def unproven(self) -> str:
        """A sentence where hardly any validation row stands behind the probabilities of a stored model, else ""."""
        if self._reference is None:
            return ""
        return unproven(0 if self._validation is None else len(self._validation))

    def report(self) -> DriftReport | None:
        """The comparison with the validation rows; None without them, or where the rows are too few for it."""
        if self._reference is None or min(self._reference.rows, self.profile.rows) < REPORT_ROWS:
            return None
        return compare_profiles(self._reference, self.profile)

    def is_other(self, found: DriftReport | None) -> bool:
        """Whether texts or probabilities look so different that figures made for the validation rows may not hold."""
        table = None if found is None else found.table
        large = table is not None and bool(((table.status == "large") & ~table.check.isin(APART)).any())
        return large or bool(self.kind())

    def verdict(self, found: DriftReport | None) -> str:
        """The drift report and the check of exchangeability in one line; "" where there is no report."""
        if found is None:
            return ""
        line = f"compared with the validation rows: {found}"
        if self._validation is not None and self._confidence:
            scores = self._validation.outcomes(self._calibrated).confidence
            check = check_exchangeability(scores, np.concatenate(self._confidence), least=SMALL)
            doubt = (
                f"doubtful (p = {check.p_value:.2g})" if check.doubtful else f"not in doubt (p = {check.p_value:.2g})"
            )
            line += f". Exchangeability of the probabilities is {doubt}"
        return line

    def notes(self) -> list[str]:
        """All that is to be said, a line each."""
        lines = (*overlap(self.rows, self.trained, self.validated), self.kind())
        return [*(f"warning: {line}" for line in lines if line), *filter(None, [self.verdict(self.report())])]


def _strange(old: Float64, new: Float64) -> str:
    """A sentence where many texts are of words that the model does not know; ``old``, ``new``: rows by share of such
    words (:class:`hjc.statistics.drift.Profile`), the last two tenths here. "" where that is not known."""
    if not (old.sum() and new.sum()):
        return ""
    before, now = (float(found[-2:].sum() / found.sum()) for found in (old, new))
    if now <= max(STRANGE, TIMES * before):
        return ""
    return (
        f"of {now:.0%} of the rows the model knows hardly a word (of its validation rows {before:.0%}): it may not "
        "have learnt their language. Codes of such texts are mostly wrong, and less sure than their probabilities say: "
        "train on such texts"
    )
