"""The drift profile of a model: what its validation (or training) rows looked like, stored beside it without texts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hjc.classifiers.base import Classifier
from hjc.classifiers.derived import read_derived, write_derived
from hjc.classifiers.vectors import TF_IDF, dense
from hjc.data.jobdata import JobData
from hjc.errors import ModelDirError
from hjc.evaluation.validation import update_profile
from hjc.index import normalise
from hjc.statistics.drift import Profile
from hjc.taxonomy import Taxonomy

PROFILE_FILE = "drift_profile.json"
#: training rows that are profiled where there are no validation rows
TRAINING_SAMPLE = 5000
#: validation rows whose vectors are looked at: half for the directions, half to be compared with
VECTOR_SAMPLE = 2000


def profile_rows(classifier: Classifier, data: JobData, *, most: int = TRAINING_SAMPLE, seed: int = 0) -> Profile:
    """Profile of an even random sample of at most ``most`` rows.

    Rows that the classifier was trained on look surer than others: prefer validation rows.
    """
    rows = data
    if len(data) > most:
        rows = data.take(np.sort(np.random.default_rng(seed).choice(len(data), most, replace=False)))
    profile = Profile(classifier.taxonomy, oov=classifier.oov_share if classifier.has_vocabulary else None)
    for at, log_proba in classifier.iter_log_proba(rows.texts):
        update_profile(profile, at, log_proba, rows.texts, rows.language)
    return profile


def add_vectors(profile: Profile, classifier: Classifier, texts: Sequence[str]) -> None:
    """Add vectors of an even sample of the texts, in the classifier's own space: pooled vectors of an encoder, tf-idf
    rows folded to 512 columns; nothing where it has none."""
    space = classifier.vector_space
    if space is None or not len(texts):
        return
    wanted = profile.choose(len(texts))
    found = classifier.text_vectors([texts[i] for i in wanted.tolist()]) if len(wanted) else None
    profile.space = f"{space}, folded" if space == TF_IDF else space
    profile.keep(normalise(dense(found)) if found is not None else np.zeros((0, 0)))


def describe_vectors(profile: Profile, classifier: Classifier, texts: Sequence[str]) -> None:
    """Give a profile of validation rows their vectors, in a form that is small to store.

    Not for rows the classifier was trained on: it knows all their words, and new rows differ from them by that alone.
    """
    profile.sample = VECTOR_SAMPLE
    add_vectors(profile, classifier, texts)
    profile.project()


def write_profile(directory: str | Path, profile: Profile, rows: str) -> Path:
    """Write drift_profile.json beside the finished model; ``rows`` says which rows it is of (validation, training)."""
    return write_derived(directory, PROFILE_FILE, {**profile.to_dict(), "of": rows})


def read_profile(directory: str | Path, taxonomy: Taxonomy) -> tuple[Profile, str]:
    """The stored profile and of which rows it is.

    Raises:
        ValueError: there is none. ModelDirError: it is damaged, was altered, or belongs to another model.
    """
    state = read_derived(directory, PROFILE_FILE)
    if state is None:
        raise ValueError(
            f"{directory} has no {PROFILE_FILE}: the model was trained with evaluation.calibrate=false or by an older "
            "hjc; for a finished run the same training command adds the file"
        )
    try:
        return Profile.from_dict(taxonomy, state), str(state.get("of", "training"))
    except (ValueError, KeyError, TypeError) as error:
        path = Path(directory) / PROFILE_FILE
        raise ModelDirError(f"{path}: truncated or altered ({error}); remove it and train again") from error
