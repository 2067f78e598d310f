"""The model directory: nothing but a whole, unaltered model of ours is ever loaded, and no save destroys one."""

import hashlib
import itertools
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import hjc
from hjc.classifiers import storage, stored_classifier
from hjc.classifiers.load import load, training_record
from hjc.classifiers.storage import (
    ModelDirError,
    load_arrays,
    read_model_dir,
    save_arrays,
    stored_taxonomy,
    write_model_dir,
)
from hjc.data import TextRecipe
from hjc.report.card import calibration_sentence, card_text, write_card
from hjc.taxonomy import from_edges, isco08
from tests.damage import edit_config

MODELS = Path(__file__).parent / "fixtures" / "models_0_1"
TREE = from_edges(
    ["1", "2", "11", "12", "21"],
    [None, None, "1", "1", "2"],
    titles={"en": ["one", "two", 'a,\n"b"', "", "ż"]},
    name="toy",
)


def save(directory, content=b"first", *, files=("weights.bin", "deep/er/table.json"), fail=None, classifier="linear"):
    def write(folder):
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content + name.encode())
        if fail is not None:
            raise fail

    return write_model_dir(
        directory, classifier=classifier, parameters={"a": 1, "b": [0.5, None]}, taxonomy=TREE,
        recipe=TextRecipe(("title", "body")), files=write,
    )  # fmt: skip


def content(directory) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_round_trip(tmp_path):
    model = read_model_dir(save(tmp_path / "new" / "run"), expected_classifier="linear")
    assert model.parameters == {"a": 1, "b": [0.5, None]}
    assert model.taxonomy == TREE
    assert model.taxonomy.name == "toy"
    assert dict(model.taxonomy.titles) == dict(TREE.titles)
    assert model.file("deep/er/table.json").read_bytes() == b"firstdeep/er/table.json"
    assert set(model.config["files"]) == {"weights.bin", "deep/er/table.json", "taxonomy.csv"}
    assert model.config["hjc_version"] == hjc.__version__
    with pytest.raises(ModelDirError, match=r"lists no file 'other\.bin'"):
        model.file("other.bin")


def test_the_tree_is_read_without_the_other_files(tmp_path):
    folder = save(tmp_path / "run")
    (folder / "weights.bin").unlink()
    assert stored_taxonomy(folder) == TREE
    (folder / "taxonomy.csv").write_text("code,parent\n1,\n")
    with pytest.raises(ModelDirError, match=r"is not the tree that config\.json names"):
        stored_taxonomy(folder)
    (folder / "taxonomy.csv").unlink()
    with pytest.raises(ModelDirError, match=r"taxonomy\.csv: cannot be read"):
        stored_taxonomy(folder)


def test_isco_and_a_tree_in_another_order_survive(tmp_path):
    write_model_dir(tmp_path / "a", classifier="linear", parameters={}, taxonomy=isco08(), recipe=TextRecipe())
    assert read_model_dir(tmp_path / "a").taxonomy.titles["pl"] == isco08().titles["pl"]


def test_a_second_save_replaces_the_model_and_nothing_else(tmp_path):
    run = save(tmp_path / "run")
    (run / "train.yaml").write_text("seed: 1")
    (run / "logs").mkdir()
    (run / "logs" / "a.csv").write_text("x")
    save(run, b"second", files=("weights.bin", "new.bin"))
    read_model_dir(run)
    assert (run / "weights.bin").read_bytes() == b"secondweights.bin"
    assert not (run / "deep/er/table.json").exists()  # of the old model, listed there and no more here
    assert (run / "train.yaml").read_text() == "seed: 1"
    assert (run / "logs" / "a.csv").exists()
    assert not [p for p in run.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("error", [RuntimeError("disk full"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_model(tmp_path, error):
    run = save(tmp_path / "run")
    before = content(run)
    with pytest.raises(type(error)):
        save(run, b"second", fail=error)
    assert content(run) == before


def test_a_kill_at_any_step_leaves_one_whole_model(tmp_path, monkeypatch):
    """The process 'dies' before its n-th rename or deletion, for every n; the directory then loads as old or as new."""

    class Killed(BaseException):
        pass

    seen = set()
    for step in range(60):
        run = save(tmp_path / f"run{step}", b"old")
        left = [step]

        def dying(function, left=left):
            def call(*args, **kwargs):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return function(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(storage.os, "replace", dying(os.replace))
            patch.setattr(storage.os, "link", dying(os.link))
            patch.setattr(storage.Path, "unlink", dying(storage.Path.unlink))
            patch.setattr(storage.shutil, "rmtree", dying(shutil.rmtree))
            try:
                save(run, b"new", files=("weights.bin", "other.bin"))
                finished = True
            except Killed:
                finished = False
        model = read_model_dir(run)
        weights = model.file("weights.bin").read_bytes()
        seen.add(weights[:3])
        assert (b"old" in weights) == ("deep/er/table.json" in model.config["files"])
        save(run, b"third")
        assert read_model_dir(run) and not [p for p in run.iterdir() if p.name.startswith(".")]
        if finished:
            break
    assert finished and seen == {b"old", b"new"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes of POSIX systems")
def test_kill_nine_at_any_moment_leaves_one_whole_model(tmp_path):
    """A process that saves one model after the other is killed; what is loaded is one of them, from file to file."""
    run, rng = save(tmp_path / "run", b"0"), np.random.default_rng(0)
    for _ in range(12):
        if (child := os.fork()) == 0:
            try:
                for number in itertools.count():
                    save(run, bytes([48 + number % 10]), files=("weights.bin", f"other{number % 3}.bin"))
            finally:
                os._exit(1)
        time.sleep(rng.uniform(0.002, 0.03))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        model = read_model_dir(run)
        assert len({model.file(name).read_bytes()[:1] for name in model.config["files"] if name != "taxonomy.csv"}) == 1
    save(run, b"last")
    assert not [p for p in run.iterdir() if p.name.startswith(".")]


def test_bad_arguments(tmp_path):
    with pytest.raises(TypeError, match="plain JSON"):
        write_model_dir(
            tmp_path / "a", classifier="linear", parameters={"a": np.float32(1)}, taxonomy=TREE, recipe=TextRecipe()
        )
    with pytest.raises(ValueError, match="finite"):
        write_model_dir(
            tmp_path / "a", classifier="linear", parameters={"a": float("nan")}, taxonomy=TREE, recipe=TextRecipe()
        )
    with pytest.raises(ValueError, match="reserved"):
        save(tmp_path / "a", files=("config.json",))
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        save(tmp_path / "file")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelDirError, match="did not write"):
        save(tmp_path / "hf")


# ---------------------------------------------------------------------- damage


def edit(run, **changes):
    edit_config(run, lambda config: config.update(changes))


DAMAGE = {
    "weights.bin: truncated": lambda run: (run / "weights.bin").write_bytes(b"fir"),
    "weights.bin: altered or of another": lambda run: (run / "weights.bin").write_bytes(b"FIRSTweights.bin"),
    "weights.bin: altered, got": lambda run: (run / "weights.bin").write_bytes(b"x" * 100),
    "table.json is missing": lambda run: (run / "deep/er/table.json").unlink(),
    "taxonomy.csv: altered": lambda run: (run / "taxonomy.csv").write_text(
        (run / "taxonomy.csv").read_text().replace("two", "owt")
    ),
    "taxonomy.csv: is not the tree": lambda run: edit(run, taxonomy_hash="0" * 64),
    "config.json: truncated or altered": lambda run: (run / "config.json").write_text('{"format_version": 1, "cl'),
    "config.json: altered, its content is not what its content_sha256 says": lambda run: (
        run / "config.json"
    ).write_text((run / "config.json").read_text().replace("0.5", "0.25")),
    "is no hjc model directory": lambda run: (run / "config.json").unlink(),
    "upgrade hjc": lambda run: edit(run, format_version=storage.FORMAT_VERSION + 1),
    "format_version is 'x'": lambda run: edit(run, format_version="x"),
    "'parameters' is missing": lambda run: edit(run, parameters=None),
    "lies outside": lambda run: edit(run, files={"../../etc/passwd": {"sha256": "", "size": 1}}),
    "gives no size": lambda run: edit(run, files={"weights.bin": 3}),
    "lists no taxonomy.csv": lambda run: edit(run, files={}),
    "no classifier 'os.system'": lambda run: edit(run, classifier="os.system"),
    "a Hugging Face model": lambda run: (run / "config.json").write_text('{"model_type": "bert"}'),
    "another program": lambda run: (run / "config.json").write_text("[]"),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_damage_is_one_clear_error(tmp_path, message):
    run = save(tmp_path / "run")
    DAMAGE[message](run)
    with pytest.raises(ModelDirError, match=message) as error:
        stored_classifier(run)
        read_model_dir(run)
    assert str(run) in str(error.value)


def test_wrong_places(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model directory"):
        load(tmp_path / "none")
    (tmp_path / "last.ckpt").write_text("")
    with pytest.raises(ModelDirError, match="only resumes"):
        load(tmp_path / "last.ckpt")
    save(tmp_path / "sweep" / "0")
    with pytest.raises(ModelDirError, match=r"holds 1 runs.*sweep/0"):
        load(tmp_path / "sweep")
    (tmp_path / "sweep" / "0" / "logs").mkdir()
    with pytest.raises(ModelDirError, match="inside a run"):
        load(tmp_path / "sweep" / "0" / "logs")
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "train.yaml").write_text("status: running")
    with pytest.raises(ModelDirError, match="has not ended"):
        load(tmp_path / "open")
    with pytest.raises(ModelDirError, match="not 'neural'"):
        read_model_dir(tmp_path / "sweep" / "0", expected_classifier="neural")


def test_arrays(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "empty": np.zeros((0, 4), np.int64),
        "scalar": np.array(3.5),
        "flags": np.array([True, False]),
    }
    save_arrays(tmp_path / "x.safetensors", arrays)
    back = load_arrays(tmp_path / "x.safetensors")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype and back[name].shape == array.shape
    with pytest.raises(TypeError, match="'t'"):
        save_arrays(tmp_path / "y.safetensors", {"t": np.array(["x"])})
    (tmp_path / "x.safetensors").write_bytes((tmp_path / "x.safetensors").read_bytes()[:-1])
    with pytest.raises(ModelDirError, match=r"x\.safetensors: truncated"):
        load_arrays(tmp_path / "x.safetensors")


# ---------------------------------------------------------------------- the card


def test_the_card_names_encoders_and_licences_of_all_parts(tmp_path):
    """A model that is passed on takes the terms of what lies inside it along."""
    run = shutil.copytree(MODELS / "hybrid_loglinear", tmp_path / "run")
    assert "| parts/1 | prototype | tree (10 codes) | tiny |" in card_text(run)
    config = json.loads((run / "parts/1/config.json").read_text())
    config["parameters"]["encoder"] = "intfloat/multilingual-e5-small"
    config.pop("content_sha256", None)
    (run / "parts/1/config.json").write_text(json.dumps(config))
    content = (run / "parts/1/config.json").read_bytes()
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    edit_config(run, lambda outer: outer["files"].update({"parts/1/config.json": entry}))
    text = card_text(run)
    assert "| parts/1 | prototype | tree (10 codes) | intfloat/multilingual-e5-small |" in text
    assert "The base encoder intfloat/multilingual-e5-small is published under MIT" in text
    assert "base_model: intfloat/multilingual-e5-small" in text


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({}, ""),
        ({"kind": None, "rows": 0}, "No calibration: there were no validation rows."),
        ({"kind": "identity", "rows": 72}, "Calibration changes nothing: no correction"),
        ({"kind": "temperature", "rows": 1200}, "Calibration: temperature was fitted on 1,200 validation rows. It is"),
    ],
)
def test_the_card_says_what_calibration_changes(made, said):
    assert calibration_sentence(made).startswith(said) and bool(calibration_sentence(made)) == bool(said)
    lines = [{"kind": "identity", "log_loss": 1.5}, {"kind": "group_temperature", "log_loss": 1.25, "chosen": True}]
    text = calibration_sentence({"kind": "conditional_temperature", "rows": 90, "candidates": lines})
    assert "a temperature for each group of sibling codes" in text and "from 1.500 to 1.250" in text


def test_card_says_what_there_is(tmp_path):
    run = save(tmp_path / "run")
    text = write_card(run).read_text()
    assert text.startswith("---\nlibrary_name: hjc\n")
    assert "has not been evaluated" in text and "without a record" in text
    (run / "train.yaml").write_text(
        "status: finished\nseed: 3\ncommand: train.py model=linear\nrejected_rows: 7\n"
        "data: {train: {rows: 1200, hash: abc}}\nconfig: {data: {text_columns: [title, body], languages: [pl, en]}}\n"
    )
    (run / "metrics.csv").write_text(
        "set,slice_kind,slice,level,metric,value,low,high,n\n"
        "test,,,1,recall@1,0.5,0.4,0.6,90\ntest,,,1,log_loss,1.25,,,90\ntest,language,pl,1,recall@1,0.9,0.8,1.0,40\n"
    )
    text = write_card(run, licence="MIT").read_text()
    for part in (
        "1,200",
        "`abc`",
        "seed 3",
        "0.500 [0.400, 0.600]",
        "| 1.250 |",
        "7 rows",
        "- pl",
        "license: mit".upper(),
    ):
        assert part.lower() in text.lower(), part
    assert "0.9" not in text and "--text-column title --text-column body" in text
    read_model_dir(run)  # the card is not part of the model
    (run / "train.yaml").write_text("a: [")
    with pytest.raises(ModelDirError, match=r"train\.yaml"):
        training_record(run)
