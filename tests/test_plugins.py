"""Heads and classifiers from outside hjc: by a call, and as entry points of an installed package."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra.core.config_store import ConfigStore

import hjc
from hjc.classifiers import REGISTRY, build, classifier_class, classifier_settings, read_classifier
from hjc.errors import ModelDirError
from hjc.nn.settings import HEADS, NeuralSettings
from hjc.plugins import Registry
from hjc.taxonomy import from_edges
from hjc.training.config import ConfigError, compose

ROOT = Path(hjc.__file__).parent.parent
MODULE = '''
from dataclasses import dataclass

import numpy as np
from torch.nn import functional as F

from hjc import Classifier
from hjc.nn.heads import BottomUpHead, Head


class MineHead(BottomUpHead):
    """One softmax over the leaves, a little flatter."""

    def leaf_log_proba(self, scores):
        return F.log_softmax(scores / 2, dim=-1)

    def negative_log_likelihood(self, scores, gold, label_smoothing=0.0):
        return super().negative_log_likelihood(scores / 2, gold, label_smoothing)


@dataclass(kw_only=True)
class PriorSettings:
    name: str = "prior"
    hierarchy: str = "bottomup"
    pseudo: float = 1.0

    def __post_init__(self):
        if self.pseudo <= 0:
            raise ValueError(f"model.pseudo: got {self.pseudo}, allowed are numbers above 0")


class Prior(Classifier):
    """The frequency of each leaf in training, whatever the text."""

    name = "prior"
    settings_class = PriorSettings

    def __init__(self, taxonomy, settings=None):
        super().__init__(taxonomy)
        self.settings, self.log_proba = settings or PriorSettings(), None

    @property
    def is_fitted(self):
        return self.log_proba is not None

    @property
    def parameters(self):
        return {"hierarchy": self.settings.hierarchy, "name": self.name, "pseudo": self.settings.pseudo}

    def fit(self, train, valid=None, *, run_dir=None):
        counts = np.bincount(train.gold, minlength=len(self.taxonomy))[self.taxonomy.leaves] + self.settings.pseudo
        self.log_proba = np.log(counts / counts.sum()).astype(np.float32)
        return self

    def iter_log_proba(self, texts):
        self.check_fitted()
        yield np.arange(len(texts)), np.tile(self.log_proba, (len(texts), 1))

    def write_files(self, folder):
        np.save(folder / "prior.npy", self.log_proba, allow_pickle=False)

    @classmethod
    def read_files(cls, model):
        made = cls(model.taxonomy, model.settings(PriorSettings))
        made.log_proba = np.load(model.file("prior.npy"), allow_pickle=False)
        return made
'''
TINY = [
    "model=tiny", "model.tiny_hidden=32", "model.tiny_layers=1", "model.tiny_vocabulary=300", "trainer.max_steps=2",
    "trainer.threads=1", "trainer.precision='32'", "trainer.batch_size=16",
]  # fmt: skip
QUICK = ["evaluation=quick", "evaluation.calibrate=false", "evaluation.report=false"]


def two_codes() -> hjc.Taxonomy:
    return from_edges(["a", "b"], ["", ""])


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path as an installation leaves it: a module, and metadata that declare what is in it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "hjc_mine.py").write_text(MODULE)
    info = folder / "hjc_mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hjc-mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[hjc.heads]\nmine = hjc_mine:MineHead\nbroken = hjc_mine_absent:Head\nno_head = hjc_mine:Prior\n"
        "[hjc.classifiers]\nprior = hjc_mine:Prior\nno_classifier = hjc_mine:MineHead\n"
    )
    return folder


@pytest.fixture(autouse=True)
def own_store() -> Iterator[None]:
    """What a test offers to Hydra is gone after it."""
    groups = [ConfigStore.instance().repo.setdefault(name, {}) for name in ("hierarchy", "model")]
    before = [set(group) for group in groups]
    yield
    for group, names in zip(groups, before, strict=True):
        for name in set(group) - names:
            del group[name]


@pytest.fixture
def installed(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.delitem(sys.modules, "hjc_mine", raising=False)


def command(package: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*([str(package)] if package else []), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "hjc.cli", *arguments],
        capture_output=True, text=True, timeout=240, cwd=ROOT, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


@pytest.mark.slow
def test_a_plugins_head_is_trained_and_loaded_by_its_name_alone(package: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = command(package, "train", *TINY, *QUICK, "hierarchy=mine", "taxonomy.depth=1", f"run_dir={run}")
    assert done.returncode == 0, done.stderr
    stored = (run / "config.json").read_text()
    assert json.loads(stored)["parameters"]["hierarchy"] == "mine" and "hjc_mine" not in stored
    ads = tmp_path / "ads.csv"
    ads.write_text("title,description\nnurse,ward\n")
    columns = ["--text-column", "title", "--text-column", "description"]
    coded = command(package, "predict", str(run), str(ads), "-o", str(tmp_path / "out.csv"), *columns)
    assert coded.returncode == 0, coded.stderr
    with pytest.raises(ModelDirError, match=r"needs the head 'mine'; no installed package registers the head 'mine'"):
        hjc.load(run)


def test_a_plugins_classifier_is_trained_and_loaded(
    package: Path, installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "hjc_mine" not in sys.modules and "prior" in REGISTRY and "hjc_mine" not in sys.modules
    settings = compose(["model=prior", "model.pseudo=2"]).model
    assert type(settings).__name__ == "PriorSettings" and settings.pseudo == 2 and settings.hierarchy == "bottomup"
    with pytest.raises(ConfigError, match=r"model\.pseudo: got -1"):
        compose(["model=prior", "model.pseudo=-1"])
    with pytest.raises(ConfigError, match="pseudoo"):
        compose(["model=prior", "model.pseudoo=1"])
    tree = two_codes()
    model = build(tree, settings).fit(hjc.JobData.from_lists(tree, ["x", "y", "z"], ["a", "a", "b"]))
    model.save_pretrained(tmp_path / "model")
    again = hjc.load(tmp_path / "model")
    np.testing.assert_allclose(again.predict_proba(["anything"]), [[4 / 7, 3 / 7]], atol=1e-6)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(package)])
    with pytest.raises(ModelDirError, match=r"there is no classifier 'prior'.*no installed package registers"):
        read_classifier(tmp_path / "model")


@pytest.mark.slow
def test_nothing_of_a_plugin_is_imported_before_its_name_is_asked_for(package: Path) -> None:
    code = (
        "import sys, hjc\nfrom hjc.training.config import compose\nfrom hjc.nn.settings import HEADS\n"
        "assert 'mine' in HEADS and compose(['model=tiny', 'hierarchy=mine']).model.hierarchy == 'mine'\n"
        "assert 'hjc_mine' not in sys.modules and 'torch' not in sys.modules\n"
    )
    path = os.pathsep.join([str(package), str(ROOT)])
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env={**os.environ, "PYTHONPATH": path})


def test_what_a_plugin_declares_wrongly_is_one_clear_error(installed: None) -> None:
    from hjc.nn.heads import build_head

    with pytest.raises(ImportError, match=r"head 'broken' \(hjc_mine_absent:Head\) of the package hjc-mine cannot be"):
        build_head("broken", two_codes(), 8)
    with pytest.raises(TypeError, match=r"'no_head' must be a subclass of hjc\.nn\.heads\.Head"):
        build_head("no_head", two_codes(), 8)
    with pytest.raises(TypeError, match=r"'no_classifier' must be a subclass of hjc\.Classifier"):
        classifier_settings("no_classifier")
    with pytest.raises(ConfigError, match=r"'no_classifier' must be a subclass"):
        compose(["model=no_classifier"])
    with pytest.raises(ValueError, match=r"classifier: got 'other', allowed are neural, .*prior"):
        classifier_class("other")


def test_two_packages_with_one_name_are_told(
    package: Path, installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "another-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[hjc.heads]\nmine = another:Head\ntopdown = another:Head\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"several packages: another \(another:Head\), hjc-mine"):
        HEADS["mine"]
    assert HEADS["topdown"].__module__ == "hjc.nn.heads"  # a name of hjc stays hjc's


def test_registration_by_a_call(installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import hjc_mine  # type: ignore[import-not-found]

    for registry in (HEADS, REGISTRY):
        monkeypatch.setattr(registry, "registered", {})
    hjc.register_head("flatter", hjc_mine.MineHead)
    hjc.register_head("flatter", hjc_mine.MineHead)  # as a notebook runs a cell twice
    assert (
        compose(["model=tiny", "hierarchy=flatter"]).model == compose(["model=tiny", "model.hierarchy=flatter"]).model
    )
    assert NeuralSettings(hierarchy="flatter").hierarchy == "flatter"
    with pytest.raises(ValueError, match="there is a head 'topdown' already"):
        hjc.register_head("topdown", hjc_mine.MineHead)
    with pytest.raises(ValueError, match="a head is named by a word"):
        hjc.register_head("my.head", hjc_mine.MineHead)
    own = type("Own", (hjc_mine.Prior,), {"name": "own"})
    hjc.register_classifier("own", own, settings=hjc_mine.PriorSettings)
    assert classifier_class("own") is own and compose(["model=own", "model.name=own"]).model.pseudo == 1
    with pytest.raises(ValueError, match=r"Own\.name is 'own', but it is registered as 'mine'"):
        hjc.register_classifier("mine", own)
    with pytest.raises(TypeError, match="fields name and hierarchy"):
        hjc.register_classifier("own", own, settings=dict)


def test_a_registry_without_plugins() -> None:
    empty = Registry("colour", "hjc.colours", {"red": ("hjc.errors", "name_some")})
    assert list(empty) == ["red"] and "blue" not in empty and empty.outside() == []
    with pytest.raises(ValueError, match=r"colour: got 'blue', allowed are red; no installed package registers"):
        empty["blue"]
