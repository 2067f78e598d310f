"""A stranger's model directory: reading it changes nothing, in it or outside, and whatever leads out is an error."""

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hjc
from hjc.classifiers import stored_classifier
from hjc.classifiers.derived import read_derived, verify_derived, write_calibration, write_derived
from hjc.classifiers.paths import inside, is_safe
from hjc.errors import ModelDirError
from hjc.evaluation.drift_profile import read_profile, write_profile
from hjc.evaluation.validation_scores import ValidationScores
from tests.damage import edit_config

MODELS = Path(__file__).parent / "fixtures" / "models_0_1"
TEXTS = ["registered nurse", "software developer"]


def tree_of(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below a folder, links not followed: mode, time of change, content or target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path).encode()
        else:
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, content)
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What must not change: files that a link or a name could reach."""
    home = tmp_path / "home"
    for name, text in ((".ssh/keys", "good"), ("docs/thesis.txt", "thesis"), ("config.json", "{}")):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    return home


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS / "linear_topdown", tmp_path / "model"))


def entries(name: str) -> list[str]:
    return sorted(p.relative_to(MODELS / name).as_posix() for p in (MODELS / name).rglob("*"))


def read(model: Path) -> str:
    """Read a directory in every way; the error, or "" where it is taken."""
    try:
        stored_classifier(model)
        hjc.load(model)
        verify_derived(model)
    except (ValueError, OSError) as error:
        return str(error)
    return ""


LINKED = [(name, entry) for name in ("linear_topdown", "hybrid_loglinear") for entry in entries(name)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_every_entry_of_a_model_may_be_a_link_or_a_pipe_of_a_stranger(tmp_path: Path, outside: Path, kind: str) -> None:
    """At each level, hybrids' parts, calibration and graphs included: an error that names the entry, never a hang."""
    for number, (name, entry) in enumerate(LINKED):
        model = Path(shutil.copytree(MODELS / name, tmp_path / f"model{number}"))
        target, moved = model / entry, outside / f"moved{number}"
        target.rename(moved)
        if kind == "link":
            target.symlink_to(moved)
        else:
            os.mkfifo(target)
        before = tree_of(outside), tree_of(model)
        error = read(model)
        assert str(target) in error and ("is a link" in error or "is missing" in error or "pipe" in error), error
        assert (tree_of(outside), tree_of(model)) == before
        shutil.rmtree(model)
    assert number > 60


def commit_is_a_link(model: Path, home: Path) -> None:
    (model / ".commit").symlink_to(home / "docs")


def commit_is_a_link_to_a_model(model: Path, home: Path) -> None:
    shutil.copytree(model, home / "other")
    (model / ".commit").symlink_to(home / "other")


def commit_writes_through_a_link(model: Path, home: Path) -> None:
    (model / "x").symlink_to(home)
    (model / ".commit" / "x" / ".ssh").mkdir(parents=True)
    (model / ".commit" / "x" / ".ssh" / "keys").write_text("evil")


def commit_with_config_writes_through_a_link(model: Path, home: Path) -> None:
    commit_writes_through_a_link(model, home)
    shutil.copy(model / "config.json", model / ".commit")


def old_config_lists_what_lies_outside(model: Path, home: Path) -> None:
    (model / "x").symlink_to(home)
    (model / ".commit").mkdir()
    shutil.copy(model / "config.json", model / ".commit" / "config.json")
    lists("x/docs/thesis.txt")(model, home)


def config_of_commit_is_a_link(model: Path, home: Path) -> None:
    (model / ".commit").mkdir()
    (model / ".commit" / "config.json").symlink_to(home / "config.json")


def files_of_commit_are_links(model: Path, home: Path) -> None:
    shutil.copytree(model, model.parent / "copy")
    (model.parent / "copy").rename(model / ".commit")
    (model / ".commit" / "features.json").rename(home / "features.json")
    (model / ".commit" / "features.json").symlink_to(home / "features.json")


def commit_is_a_pipe(model: Path, home: Path) -> None:
    os.mkfifo(model / ".commit")


def a_link_beside_the_model(model: Path, home: Path) -> None:
    (model / "metrics.csv").symlink_to(home / "docs" / "thesis.txt")


def a_link_to_itself(model: Path, home: Path) -> None:
    (model / "train.yaml").unlink()
    (model / "train.yaml").symlink_to("train.yaml")


def deep(model: Path, home: Path) -> None:
    (model / "config.json").write_text('{"a":' * 100_000)


def lists(name: str, directory: str = "") -> Callable[[Path, Path], None]:
    def alter(model: Path, home: Path) -> None:
        edit_config(model / directory, lambda config: config["files"].update({name: {"sha256": "", "size": 0}}))

    alter.__name__ = f"lists {name[:20]!r}"
    return alter


NAMES = ["../home/docs/thesis.txt", "/etc/passwd", "/dev/zero", "a/../../home/config.json", "..", ".", "", "/", "./x",
         "a//b", "a/", "napkinxc/../../x", "C:\\x", "C:x", "\\\\server\\x", "a\\b", "NUL", "nul.txt", "a/CON",
         "com1.bin", "a\0b", "a\nb", "x" * 5000, "a/" * 2000 + "b"]  # fmt: skip
HOSTILE = [commit_is_a_link, commit_is_a_link_to_a_model, commit_writes_through_a_link,
           commit_with_config_writes_through_a_link, old_config_lists_what_lies_outside, config_of_commit_is_a_link,
           files_of_commit_are_links, commit_is_a_pipe, a_link_beside_the_model, a_link_to_itself, deep,
           *map(lists, NAMES)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("alter", HOSTILE, ids=lambda f: f.__name__.replace("\0", ""))
def test_hostile_directories(tmp_path: Path, outside: Path, model: Path, alter: Callable[[Path, Path], None]) -> None:
    saved = hjc.load(MODELS / "linear_topdown")
    alter(model, outside)
    before = tree_of(outside), tree_of(model)
    assert read(model) != ""
    assert (tree_of(outside), tree_of(model)) == before
    try:
        saved.save_pretrained(model)  # saving into it is no way out either
    except (ValueError, OSError) as error:
        assert str(model) in str(error)
    else:
        error = read(model)
        assert "is a link" in error or not error  # a link beside the model is still there
        assert error or (hjc.load(model).predict(TEXTS) == saved.predict(TEXTS)).all().all()
    assert tree_of(outside) == before[0]


@given(st.lists(st.sampled_from(["..", ".", "", "/", "a", "link", "b.txt", "~", "\\", "C:", "NUL.x"]), max_size=5))
def test_safe_names_stay_inside(parts: list[str]) -> None:
    name, root = "/".join(parts), Path("/models/one")
    if is_safe(name):
        assert Path(os.path.normpath(root / name)).is_relative_to(root) and inside(root, name) != root
    else:
        with pytest.raises(ModelDirError, match="outside"):
            inside(root, name)


def fit_checksum(model: Path, name: str) -> None:
    """What a forger does too."""
    content = (model / name).read_bytes()
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    edit_config(model, lambda config: config["files"].update({name: entry}))


FILES = [n for n in entries("linear_topdown") if (MODELS / "linear_topdown" / n).is_file() and n != "config.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_forged_file_that_fits_its_checksum_is_one_error_or_a_model(model: Path, name: str) -> None:
    """Libraries' parsers raise what they like (NumPy: tokenize's TokenError); it is told as damage all the same."""
    whole = (model / name).read_bytes()
    for forged in (
        b"",
        whole[:70],
        whole[:9] + b"(" + whole[10:],
        whole.replace(b'": ["', b'": [1, "', 1),
        whole[::-1],
    ):
        (model / name).write_bytes(forged)
        fit_checksum(model, name)
        if not read(model):
            assert np.isfinite(hjc.load(model).predict_log_proba(TEXTS)).all()


DEEP = '{"a":' * 100_000


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("encoder_config.json", DEEP, "encoder_config.json: not valid JSON (nested too deeply)"),
        ("encoder_config.json", "[]", "names no model_type"),
        ("encoder_config.json", '{"model_type": "xlm-roberta", "num_hidden_layers": 1000000000}', "have room for"),
        ("encoder_config.json", '{"model_type": "xlm-roberta", "vocab_size": 1000000000000}', "have room for"),
        ("tokenizer_config.json", DEEP, "tokenizer_config.json: not valid JSON (nested too deeply)"),
        ("tokenizer.json", DEEP, "model: Exception: "),
        ("config.json", DEEP, "config.json: truncated or altered, not valid JSON (nested too deeply)"),
        ("calibration.json", DEEP, "not valid JSON (nested too deeply)"),
        ("drift_profile.json", DEEP, "not valid JSON (nested too deeply)"),
        ("train.yaml", "[" * 100_000, "cannot be read as YAML"),
    ],
)
def test_a_forged_text_file_of_an_encoder_is_one_message(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]], name: str, text: str, said: str
) -> None:
    """Its checksum fits, its nesting or its sizes would end the parser, or take all memory of the machine."""
    model = Path(shutil.copytree(MODELS / "neural_topdown", tmp_path / "model"))
    (model / name).write_text(text)
    if name in json.loads((MODELS / "neural_topdown" / "config.json").read_text())["files"]:
        fit_checksum(model, name)
    command = ("info", model) if name in ("drift_profile.json", "train.yaml") else ("predict", model, "--text", "nurse")
    code, _, err = call(*command)
    assert code == 2 and err.count("\n") == 1 and str(model) in err and said in err, err[-500:]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["idf_text_word.npy", "row_counts.npy", "coefficients.npy", "intercepts.npy"])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, name: str, value: float) -> None:
    """Their checksum is right: the model was saved like that, or a stranger made it."""
    model = Path(shutil.copytree(MODELS / "linear_flat_logreg", tmp_path / "model"))
    array = np.load(model / name).astype(np.float64)
    array.flat[-1] = value
    np.save(model / name, array)
    fit_checksum(model, name)
    assert f"{name}: holds NaN or infinite numbers" in read(model)


def test_what_is_hashed_is_what_will_be_read(model: Path) -> None:
    """Numbers as keys are texts in JSON, which sort otherwise: 3, 12 against "12", "3"."""
    write_derived(model, "drift_profile.json", {"sizes": {3: 1, 12: 2, 240: 1}, "share": 0.1, "none": None})
    found = read_derived(model, "drift_profile.json")
    assert found is not None and found["sizes"] == {"3": 1, "12": 2, "240": 1}


def test_derived_files_are_verified(model: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    names = ["calibration.json", "calibration_scores.npz", "drift_profile.json"]
    assert verify_derived(model) == dict.fromkeys(names, False)  # as an older hjc wrote them
    code, out, _ = call("info", model)
    assert code == 0 and all(name in out for name in ("unchecked   config.json", *names))
    classifier = hjc.load(model)
    write_calibration(model, classifier.calibrator)
    ValidationScores.load(model, classifier.taxonomy).save(model)
    write_profile(model, *read_profile(model, classifier.taxonomy))
    assert verify_derived(model) == dict.fromkeys(names, True)
    assert "unchecked   config.json: written by an older hjc" in call("info", model)[1]
    for name in names:
        whole = (model / name).read_bytes()
        middle = len(whole) // 2
        for damaged in (b"", whole[:-9], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]):
            (model / name).write_bytes(damaged)
            code, _, err = call("info", model)
            assert code == 2 and err.count("\n") == 1 and str(model / name) in err, err
        (model / name).write_bytes(whole)
    state = json.loads((model / "calibration.json").read_text())
    (model / "calibration.json").write_text(re.sub(r"1\.(\d)", r"3.\1", json.dumps(state), count=1))
    with pytest.raises(ModelDirError, match=r"calibration\.json: truncated or altered"):
        hjc.load(model)


# ---------------------------------------------------------------------- a hub cache


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A model as a hub's client keeps it: links into the blobs of the same repository."""
    repository = tmp_path / "hub" / "models--someone--model"
    root = repository / "snapshots" / "abc"
    (repository / "blobs").mkdir(parents=True)
    for number, path in enumerate(p for p in sorted((MODELS / "hybrid_mixture").rglob("*")) if p.is_file()):
        name = path.relative_to(MODELS / "hybrid_mixture")
        shutil.copy(path, repository / "blobs" / str(number))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(os.path.relpath(repository / "blobs" / str(number), (root / name).parent))
    return root


def test_links_of_a_hub_cache_are_followed(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = hjc.load(MODELS / "hybrid_mixture").predict_log_proba(TEXTS)
    np.testing.assert_array_equal(hjc.load(snapshot).predict_log_proba(TEXTS), wanted)
    (snapshot.parent.parent.parent / "here").symlink_to(snapshot)  # a link that the user made and named
    monkeypatch.chdir(snapshot.parent.parent)
    np.testing.assert_array_equal(hjc.load("../here").predict_log_proba(TEXTS), wanted)


@pytest.mark.parametrize("how", ["the blob is a link", "the blobs are a link", "another folder", "up and down"])
def test_a_hub_cache_leads_no_further(snapshot: Path, outside: Path, how: str) -> None:
    repository, entry = snapshot.parent.parent, snapshot / "parts" / "0" / "taxonomy.csv"
    blob = entry.resolve()
    if how == "the blob is a link":
        blob.rename(outside / "taxonomy.csv")
        blob.symlink_to(outside / "taxonomy.csv")
    elif how == "the blobs are a link":
        (repository / "blobs").rename(outside / "blobs")
        (repository / "blobs").symlink_to(outside / "blobs")
    else:
        shutil.copy(blob, outside / "taxonomy.csv")
        entry.unlink()
        where = outside if how == "another folder" else repository / "blobs" / ".." / ".." / ".." / "home"
        entry.symlink_to(where / "taxonomy.csv")
    assert "is a link" in read(snapshot)


# ---------------------------------------------------------------------- interrupted saves


@pytest.mark.slow
def test_an_interrupted_save_of_an_older_hjc_loads_as_it_would_have_ended(tmp_path: Path, outside: Path) -> None:
    """It moved the files one by one out of .commit, config.json last: after each of them the new model is whole."""
    new = MODELS / "linear_bottomup"
    wanted = hjc.load(new).predict_log_proba(TEXTS)
    names = [p.relative_to(new) for p in sorted(new.rglob("*")) if p.is_file()]
    names = [n for n in names if n.name not in ("config.json", "train.yaml") and "calib" not in n.name]
    for moved in range(len(names) + 1):
        model = Path(shutil.copytree(MODELS / "linear_topdown", tmp_path / f"model{moved}"))
        shutil.copytree(new, model / ".commit")
        for name in names[:moved]:
            (model / name).parent.mkdir(exist_ok=True)
            os.replace(model / ".commit" / name, model / name)
        before = tree_of(model)
        np.testing.assert_array_equal(hjc.load(model).predict_log_proba(TEXTS), wanted)
        assert tree_of(model) == before
        hjc.load(model).save_pretrained(model)  # the next save tidies up
        assert not [p for p in model.iterdir() if p.name.startswith(".")]
        np.testing.assert_array_equal(hjc.load(model).predict_log_proba(TEXTS), wanted)
