"""A model put on the Hugging Face hub, with its card."""

import os
import tempfile
from pathlib import Path

from hjc.classifiers.base import Classifier
from hjc.classifiers.hub import published_files
from hjc.classifiers.paths import model_root
from hjc.classifiers.storage import read_model_dir
from hjc.report.card import CARD, card_text, with_licence


def push_to_hub(
    model: Classifier | str | os.PathLike[str],
    repo: str,
    *,
    private: bool = True,
    revision: str | None = None,
    message: str = "Model of hjc",
    licence: str | None = None,
    record: bool = False,
    token: str | None = None,
) -> str:
    """Put a model on the hub as ``org/name``, with a card; :func:`hjc.load` gives it back by that name.

        address = hjc.push_to_hub("outputs/run", "our-office/isco-ads", licence="MIT")

    Sent are the files that loading needs, what is made beside them (calibration, drift profile, metrics) and README.md.
    Never sent are texts of your data, their hashes (training_texts.npz), scores, reports, logs and checkpoints.

    Args:
        model: a model directory, or a fitted classifier (of one that lies in a directory, that directory is sent).
        repo: it is made where it is not there.
        private: of a new repository.
        revision: branch to write to (main).
        licence: of the model: written into the card. None: the card in the directory is sent as it is.
        record: send train.yaml too, which holds paths, the command and the versions of packages.
        token: of the hub (that of ``hf auth login`` or HF_TOKEN).

    Returns:
        The address of the commit.

    Raises:
        FileNotFoundError, ModelDirError: there is no whole model. NotFittedError: the classifier is not fitted.
        huggingface_hub.errors.HfHubHTTPError: the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    with tempfile.TemporaryDirectory(prefix="hjc-") as temporary:
        if not isinstance(model, Classifier):
            folder = model_root(model)
        elif model.directory is not None:
            folder = model_root(model.directory)
        else:
            model.save_pretrained(folder := Path(temporary))
        read_model_dir(folder)  # no damaged model is passed on
        card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).exists() else card_text(folder)
        card = card if licence is None else with_licence(card, licence)
        names = [name for name in published_files(folder, record=record) if name != CARD]
        files = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in names]
        files.append(CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=card.encode()))
        api = HfApi(token=token, library_name="hjc")
        api.create_repo(repo, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        done = api.create_commit(repo, files, commit_message=message, revision=revision)
    return str(done.commit_url)
