"""``hjc drift``: the profile of a new table, to be compared with that of the model's validation rows."""

from hjc.apply.loop import Columns, Summary, read_parts
from hjc.classifiers.base import Classifier
from hjc.evaluation.drift_profile import add_vectors
from hjc.evaluation.validation import update_profile
from hjc.statistics.drift import Profile
from hjc.tables import Reader


def profile_table(
    classifier: Classifier, reader: Reader, columns: Columns, *, vectors: bool, summary: Summary | None = None
) -> Profile:
    """Profile of the usable rows; ``vectors``: also of where the model places their texts.

    Raises:
        ValueError: a column does not exist, or no row can be used.
    """
    summary = summary if summary is not None else Summary()
    profile = Profile(classifier.taxonomy, oov=classifier.oov_share if classifier.has_vocabulary else None)
    for part in read_parts(reader, columns, summary):
        for at, log_proba, _ in part.batches(classifier):
            update_profile(profile, at, log_proba, part.texts, part.languages)
        if vectors:
            add_vectors(profile, classifier, [part.texts[i] for i in part.good.tolist()])
    if not profile.rows:
        raise ValueError(f"{reader.label}: no row can be used: {summary.left_out()}")
    return profile
