"""Models on a hub: by name to a folder here, and from a folder here to the hub, with a hub of this machine."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects

import hjc
from hjc.classifiers.hub import BESIDE, at_revision, find_model, is_data, published_files
from hjc.errors import ModelDirError
from hjc.report.card import card_text, with_licence, write_card
from tests.hub_server import Hub, running

MODELS = Path(__file__).parent / "fixtures" / "models_0_1"
ROOT = Path(hjc.__file__).resolve().parent.parent
COMMIT = "a" * 40
TEXTS = ["registered nurse", "software developer"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A hub whose repositories are folders here: name -> folder. Fetched as the hub's cache keeps them."""
    repos: dict[str, Path] = {}
    home = tmp_path / "hub"

    def fetch(repo: str, *, revision: str | None = None, allow_patterns: Any = None, **_: Any) -> str:
        if repo not in repos or revision not in (None, "main", "v1", COMMIT):
            raise LocalEntryNotFoundError("nothing of that name is cached")
        folder = home / f"models--{repo.replace('/', '--')}"
        snapshot, blobs = folder / "snapshots" / COMMIT, folder / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        names = [p.relative_to(repos[repo]).as_posix() for p in repos[repo].rglob("*") if p.is_file()]
        for name in filter_repo_objects(names, allow_patterns=allow_patterns):
            link, blob = snapshot / name, blobs / name.replace("/", "-")
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                shutil.copy(repos[repo] / name, blob)
                link.symlink_to(os.path.relpath(blob, link.parent))
        snapshot.mkdir(parents=True, exist_ok=True)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr("hjc.nn.hub.probe", lambda *_: None)
    monkeypatch.setattr("hjc.nn.hub.probe", lambda *_: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    return repos


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear_topdown", "neural_topdown", "hybrid_mixture"])
def test_a_model_by_its_name(cache: dict[str, Path], name: str) -> None:
    cache["office/isco-ads"] = MODELS / name
    model = hjc.load("office/isco-ads")
    assert model.revision == f"office/isco-ads@{COMMIT}" and model.revision in repr(model)
    np.testing.assert_array_equal(model.predict_proba(TEXTS), hjc.load(MODELS / name).predict_proba(TEXTS))
    for same in ("office/isco-ads@v1", "hf://office/isco-ads", f"hf://office/isco-ads@{COMMIT}"):
        assert find_model(same) == model.directory
    assert find_model("office/isco-ads", "v1") == model.directory


def test_only_what_the_model_lists_is_fetched(cache: dict[str, Path], tmp_path: Path) -> None:
    cache["office/isco-ads"] = shutil.copytree(MODELS / "linear_topdown", tmp_path / "repo")
    for name in ("evil.py", "pytorch_model.bin", "weights.pkl", "training_texts.npz", "napkinxc/more.bin"):
        (tmp_path / "repo" / name).write_text("import os")
    folder = hjc.load("office/isco-ads").directory
    assert folder is not None
    listed = json.loads((folder / "config.json").read_text())["files"]
    kept = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    assert kept - {*listed, "config.json", "train.yaml", *BESIDE} == set()
    assert at_revision(folder) and at_revision(tmp_path) is None


@pytest.mark.parametrize("name", ["run.py", "model.pkl", "pytorch_model.bin", "lib.so", "parts/0/x.pt"])
def test_files_that_are_not_data_are_refused(cache: dict[str, Path], tmp_path: Path, name: str) -> None:
    repo = cache["office/isco-ads"] = shutil.copytree(MODELS / "linear_topdown", tmp_path / "repo")
    config = json.loads((repo / "config.json").read_text())
    config["files"][name] = {"size": 1, "sha256": "0"}
    config.pop("content_sha256", None)
    (repo / "config.json").write_text(json.dumps(config))
    assert not is_data(name)
    with pytest.raises(ModelDirError, match=r"does not fetch: allowed are files of data"):
        hjc.load("office/isco-ads")


def test_what_is_no_model(cache: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    cache["office/bert"] = tmp_path / "repo"
    with pytest.raises(ModelDirError, match=r"office/bert on the hub has no config.json"):
        hjc.load("office/bert")
    (tmp_path / "repo" / "config.json").write_text('{"model_type": "bert"}')
    shutil.rmtree(tmp_path / "hub")
    with pytest.raises(ModelDirError, match="belongs to a Hugging Face model"):
        hjc.load("office/bert")


def test_paths_are_not_asked_of_the_hub(cache: dict[str, Path], tmp_path: Path) -> None:
    cache["outputs/run"] = MODELS / "linear_topdown"
    (tmp_path / "outputs").mkdir()
    for name in ("outputs/run", "run", "a/b/c", "./run", "/nowhere/run", "../x", "C:\\run", "my run/x"):
        with pytest.raises(FileNotFoundError, match="no model directory"):
            hjc.load(name)
    assert hjc.load("hf://outputs/run").is_fitted
    shutil.copytree(MODELS / "linear_bottomup", tmp_path / "outputs" / "run")
    assert hjc.load("outputs/run").revision is None  # a folder wins
    with pytest.raises(FileNotFoundError, match="models on the hub"):
        hjc.load("outputs/run", revision="v1")
    with pytest.raises(ValueError, match="give one of them"):
        hjc.load("office/isco@v1", revision="v2")


def test_what_is_not_to_be_had(cache: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hjc.nn.hub.probe", lambda *_: "the hub cannot be reached")
    with pytest.raises(FileNotFoundError, match=r"no folder office/none here.*not in the cache.*cannot be reached"):
        hjc.load("office/none")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("hjc.nn.hub.probe", lambda *_: pytest.fail("asked the network"))
    with pytest.raises(FileNotFoundError, match=r"office/none@v3 here.*HF_HUB_OFFLINE is set"):
        hjc.load("office/none", revision="v3")
    cache["office/isco-ads"] = MODELS / "linear_topdown"  # in the cache
    assert hjc.load("office/isco-ads").is_fitted


def test_commands_take_a_name(cache: dict[str, Path], call: Callable[..., tuple[int, str, str]]) -> None:
    cache["office/isco-ads"] = MODELS / "linear_topdown"
    Path("ads.csv").write_text("text\nregistered nurse\n")
    code, _, err = call("predict", "office/isco-ads", "ads.csv", "-o", "out.csv", "--text-column", "text")
    assert not code and f"office/isco-ads@{COMMIT}" in err and Path("out.csv").exists()
    code, _, err = call("info", "office/none")
    assert code == 2 and "not in the cache" in err


# ---------------------------------------------------------------------- to the hub


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running() as found:
        yield found


def ask(hub: Hub, home: Path, code: str) -> str:
    """Python in a process of its own: the client reads the hub's address when it is imported."""
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1"}
    environment |= {"PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=home,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_there_and_back_with_the_real_client(hub: Hub, tmp_path: Path) -> None:
    run = tmp_path / "run"
    hjc.load(MODELS / "linear_recipe").calibrated().save_pretrained(run)
    (run / "train.yaml").write_text("command: secret\n")
    (run / "training_texts.npz").write_bytes(b"hashes")
    (run / "report.html").write_text("texts")
    write_card(run)
    out = ask(hub, tmp_path, f"""
import hjc
print(hjc.push_to_hub({str(run)!r}, "office/isco-ads", licence="MIT"))
print(hjc.load({str(MODELS / 'neural_topdown')!r}).push_to_hub("office/other", private=False, revision="trial"))
""")  # fmt: skip
    assert out.splitlines()[0].startswith(f"{hub.address}/office/isco-ads/commit/")
    assert hub.private == {"office/isco-ads": True, "office/other": False}
    sent = hub.repos["office/isco-ads"]["main"]
    assert {"config.json", "taxonomy.csv", "calibration.json", "README.md"} < set(sent)
    assert not {"training_texts.npz", "report.html", "train.yaml"} & set(sent)
    assert b"license: mit" in sent["README.md"] and b"This model: MIT." in sent["README.md"]
    assert "has not stated a licence" in (run / "README.md").read_text()  # the folder is as it was
    asked = len(hub.asked)
    out = ask(hub, tmp_path, f"""
import hjc, numpy as np
model = hjc.load("office/isco-ads")
print(model.revision)
np.testing.assert_array_equal(model.predict_proba({TEXTS!r}), hjc.load({str(run)!r}).predict_proba({TEXTS!r}))
print(hjc.load("office/other@trial"))
""")  # fmt: skip
    sha = hub.sha("office/isco-ads", "main")
    assert out.splitlines()[0] == f"office/isco-ads@{sha}" and "NeuralClassifier" in out
    fetched = {line.split("/", 4)[-1] for line in hub.asked[asked:] if "/resolve/" in line}
    assert fetched <= {*sent, *hub.repos["office/other"]["trial"], "README.md"}
    # the hub is gone: the cache answers
    gone = Hub(address="http://127.0.0.1:9")
    assert sha in ask(gone, tmp_path, "import hjc; print(hjc.load('office/isco-ads').revision)")


def test_what_is_published(tmp_path: Path, hub: Hub) -> None:
    run = shutil.copytree(MODELS / "linear_topdown", tmp_path / "run")
    for name in ("train.yaml", "metrics.csv", "rejects.csv", "training_texts.npz", "scores_test.parquet"):
        (run / name).write_text("x: 1")
    names = set(published_files(run))
    assert "metrics.csv" in names and not {"rejects.csv", "training_texts.npz", "scores_test.parquet"} & names
    assert "train.yaml" in set(published_files(run, record=True))
    (run / "taxonomy.csv").write_text("altered")
    with pytest.raises(ModelDirError, match=r"taxonomy\.csv"):
        hjc.push_to_hub(run, "office/damaged")


def test_the_card_is_what_hubs_read(tmp_path: Path) -> None:
    run = shutil.copytree(MODELS / "neural_topdown", tmp_path / "run")
    (run / "train.yaml").write_text("config: {data: {languages: [pl, en]}}\n")
    (run / "metrics.csv").write_text(
        "set,slice_kind,slice,level,metric,value,low,high,n\n"
        "test,,,1,recall@1,0.51,0.4,0.6,90\ntest,,,3,recall@1,0.25,0.2,0.3,90\ntest,,,3,log_loss,inf,,,90\n"
        "valid,,,1,recall@1,0.99,0.9,1.0,50\ntest,language,pl,1,recall@1,0.9,0.8,1.0,40\n"
    )
    card = ModelCard(card_text(run, licence="EUPL 1.2"))
    assert card.data.language == ["pl", "en"] and card.data.license == "eupl-1.2" and card.data.library_name == "hjc"
    found = [(r.dataset_name, r.metric_type, r.metric_name, r.metric_value) for r in card.data.eval_results or ()]
    assert sorted(found) == [
        ("test", "accuracy", "recall@1 at level 1 (90 rows)", 0.51),
        ("test", "accuracy", "recall@1 at level 3 (90 rows)", 0.25),
    ]
    header = yaml.safe_load(card_text(run).split("---")[1])
    assert "license" not in header and header.get("base_model") != "tiny"
    other = ModelCard(with_licence(card_text(run), "Our own terms"))
    assert (other.data.license, other.data["license_name"]) == ("other", "our-own-terms")
    assert "This model: Our own terms." in str(other)
