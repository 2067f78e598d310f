"""hjc adapt --ads: the title of an ad is drawn to its own body, and what is written is a model like the one given."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hjc
from hjc.classifiers.ads import AdsClassifier
from hjc.classifiers.ads_settings import AdsSettings
from hjc.classifiers.embedding.adapt_ads import NOTE, TitlesWithBodies, adapt_to_ads
from hjc.classifiers.neural import NeuralClassifier
from hjc.data.jobdata import JobData
from hjc.data.recipe import TextRecipe
from hjc.nn.settings import TrainerSettings
from hjc.taxonomy import from_edges

JOBS = {"1": ("cook", "pans food kitchen"), "2": ("nurse", "ward patients care"), "3": ("driver", "lorry road load")}
TREE = from_edges(list(JOBS), [""] * 3)
NAMES = [(code, f"{kind} {name}") for code, (name, _) in JOBS.items() for kind in "abcdefgh"]
ADS = [
    f"{kind} {name}\nDuties: {work} {kind}{kind}. {i} days"
    for name, work in JOBS.values()
    for i, kind in enumerate("abcdefgh")
]
TRAINER = TrainerSettings(
    epochs=8, batch_size=8, learning_rate=3e-3, warmup_steps=2, patience=0, loggers=[], threads=1, precision="32"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "titles"
    made = NeuralClassifier(
        TREE,
        encoder="tiny",
        tiny_hidden=32,
        tiny_layers=1,
        hierarchy="bottomup",
        epochs=2,
        learning_rate=3e-3,
        loggers=[],
    )
    made.recipe = TextRecipe(("title",))
    texts = [text for _, text in NAMES] + ADS  # the tiny vocabulary knows the words of bodies too
    made.fit(JobData.from_lists(TREE, texts, [code for code, _ in NAMES] * 2)).save_pretrained(folder)
    return folder


def test_titles_stand_above_their_bodies_and_equal_ones_are_one() -> None:
    found = TitlesWithBodies.of([*ADS, "A COOK\nDuties: other work of a cook here", "a cook", "", ADS[0]])
    assert len(found.titles) == 24 and len(found.bodies) == 25 and found.title.tolist().count(0) == 2
    some = found.take(np.array([0, 5]))
    assert (
        some.titles == ("a cook", "f cook") and some.title.tolist() == [0, 0, 1] and some.bodies[:2] == found.bodies[:2]
    )
    with pytest.raises(ValueError, match="of 10 ads 10 different titles stand above a body; at least 20"):
        TitlesWithBodies.of(ADS[:10])


@pytest.mark.slow
def test_a_model_of_titles_learns_from_ads_and_stays_a_model(run: Path, tmp_path: Path, call) -> None:
    old = hjc.load(run)
    found = adapt_to_ads(hjc.load(run), ADS, TRAINER, tmp_path / "mine", str(run))
    assert found.after["log_loss"] < found.before["log_loss"]
    assert (found.ads, found.titles, found.held_out) == (24, 24, 5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine"]
    new, note = hjc.load(tmp_path / "mine"), json.loads((tmp_path / "mine" / NOTE).read_text())
    assert new.settings == old.settings and new.recipe == old.recipe and note["model"] == str(run)
    for name, weight in old.network.head.state_dict().items():
        np.testing.assert_array_equal(weight.cpu(), new.network.head.state_dict()[name].cpu())

    def apart(model) -> float:
        """Mean cosine of titles and their own bodies, less that with others."""
        pairs = TitlesWithBodies.of(ADS)
        cosine = model.text_vectors(pairs.titles).rows @ model.text_vectors(pairs.bodies).rows.T
        own = np.eye(24, dtype=bool)
        return float(cosine[own].mean() - cosine[~own].mean())

    assert apart(new) > apart(old) + 0.1
    names = JobData.from_lists(TREE, [text for _, text in NAMES], [code for code, _ in NAMES])
    whole = AdsClassifier(TREE, AdsSettings(), [new]).fit(names)
    assert "names near by part 0" in whole.fit_result.weights and whole.has_network and not new.bfloat16
    whole.compute_on("cpu", "bf16")
    assert new.bfloat16 and hjc.load(run).bfloat16 is False
    pd.DataFrame([ad.split("\n") for ad in ADS], columns=["Title", "Description"]).to_csv(
        tmp_path / "ads.csv", index=False
    )
    status, _, said = call("adapt", run, "-o", tmp_path / "new", "--ads", tmp_path / "ads.csv", "--batch-size", 8)
    assert status == 0 and "24 ads of 24 titles" in said and "--part" in said, said
    assert hjc.load(tmp_path / "new").vector_space == old.vector_space


@pytest.mark.slow
def test_killed_while_it_saves_the_same_command_goes_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = NeuralClassifier.save_pretrained

    def half(self: NeuralClassifier, folder: Path) -> None:
        save(self, folder)
        (folder / "config.json").unlink()
        raise SystemExit(137)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(NeuralClassifier, "save_pretrained", half)
        adapt_to_ads(hjc.load(run), ADS, TRAINER, tmp_path / "mine")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.training"]
    found = adapt_to_ads(hjc.load(run), ADS, TRAINER, tmp_path / "mine")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"] and found.after["log_loss"] < found.before["log_loss"]
    assert hjc.load(tmp_path / "mine").is_fitted


def test_what_cannot_be_adapted(tmp_path: Path, call) -> None:
    with pytest.raises(ValueError, match="a ads model that reads titles cannot be adapted to ads; give a neural model"):
        adapt_to_ads(AdsClassifier(TREE), ADS, TRAINER, tmp_path / "x")
    with pytest.raises(FileExistsError):
        adapt_to_ads(AdsClassifier(TREE), ADS, TRAINER, tmp_path)
    status, _, said = call("adapt", "e5", "-o", tmp_path / "x")
    assert status == 2 and "give either --titles" in said
    pd.DataFrame({"kod": ["1"]}).to_csv(tmp_path / "ads.csv", index=False)
    status, _, said = call("adapt", tmp_path, "-o", tmp_path / "x", "--ads", tmp_path / "ads.csv")
    assert status == 2 and "none of the columns" in said and "only 'kod': rename one" in said
    pd.DataFrame({"title": ["cook"], "body": ["cooks"]}).to_csv(tmp_path / "more.csv", index=False)
    pd.DataFrame({"name": ["cook"], "body": ["cooks"]}).to_csv(tmp_path / "others.csv", index=False)
    both = ("--ads", tmp_path / "more.csv", "--ads", tmp_path / "others.csv")
    status, _, said = call("adapt", tmp_path, "-o", tmp_path / "x", *both)
    assert status == 2 and "--ads: the files have different columns" in said
    status, _, said = call("adapt", "m", "-o", tmp_path / "x", *both, "--pooling", "cls", "--prefix", "")
    assert status == 2 and "--pooling, --prefix: only with --titles; with --ads the encoder reads as in m" in said
