"""Every YAML composes into typed settings; mistakes are refused by one message with the nearest valid name."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import hjc.configs
from hjc.nn.settings import TrainerSettings
from hjc.training.config import MODELS, Config, ConfigError, compose, quoted

CONFIGS = Path(hjc.configs.__file__).parent
ROOT = CONFIGS.parent.parent
#: options that only make sense with something else: group/option -> what it needs
NEEDS = {
    "taxonomy/csv": ["taxonomy.path=tree.csv"],
    "taxonomy/kzis": ["taxonomy.path=tree.csv"],
    "taxonomy/soc": ["taxonomy.path=tree.csv"],
    "hierarchy/plt": ["model=linear"],
    "hierarchy/flat_logreg": ["model=linear"],
    "encoder/use": ["model=prototype"],
}
FILES = sorted(p.relative_to(CONFIGS).with_suffix("").as_posix() for p in CONFIGS.rglob("*.yaml"))


def given(section: Any, key: str, value: Any) -> dict[str, Any]:
    """What the settings hold of a key; of settings within settings, of the keys that the file has."""
    found = getattr(section, key)
    return {key: {name: getattr(found, name) for name in value} if isinstance(value, dict) else found}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_file_composes(name: str) -> None:
    if name == "train":
        assert isinstance(compose(), Config)
        return
    group, option = name.rsplit("/", 1)
    plus = "+" if group == "sweep" else ""
    config = compose([*NEEDS.get(name, []), f"{plus}{group}={option}"])
    assert isinstance(config, Config)
    assert isinstance(config.model, tuple(MODELS.values()))
    # what the file says is what the settings hold: a key that composes but reaches nothing would be a trap
    raw = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text("utf-8")) or {}
    if group in ("model", "trainer", "evaluation", "taxonomy", "data"):
        section = getattr(config, group)
        for key, value in raw.items():
            if key != "defaults" and "${" not in str(value) and f"{group}.{key}" not in " ".join(NEEDS.get(name, [])):
                assert given(section, key, value) == {key: value}, key
    elif group == "hierarchy":
        assert config.model.hierarchy == ("bottomup" if option == "default" else option)
    elif group == "encoder":
        assert config.model.encoder == raw["encoder"]
    elif group == "logger":
        assert config.trainer.loggers == raw["loggers"]


def test_defaults() -> None:
    config = compose()
    assert config.model.encoder == "intfloat/multilingual-e5-small"
    assert config.name == "multilingual-e5-small_bottomup"
    assert config.run_dir.startswith("outputs/") and config.run_dir.endswith(config.name)
    assert config.data.sample and config.taxonomy.path == "isco08"
    assert compose(["model=linear", "hierarchy=bottomup"]).name == "linear_bottomup"
    assert compose(["model=biencoder", "encoder=minilm"]).name == "biencoder_all-MiniLM-L6-v2"
    assert compose(["model=joint"]).model.hierarchy == "pathsum"


def test_one_seed_reaches_every_part() -> None:
    config = compose(["seed=7"])
    assert (config.trainer.seed, config.data.seed) == (7, 7)
    assert compose(["model=linear", "seed=7"]).model.seed == 7


def test_paper_recipe() -> None:
    """Section "Experimental setup" of the multilingual paper."""
    for name, epochs in (("paper_base", 10), ("paper_large", 5)):
        config = compose([f"experiment={name}"])
        t, m = config.trainer, config.model
        assert (t.learning_rate, t.head_learning_rate, t.weight_decay) == (1e-5, 1e-5, 0.01)
        assert (t.beta1, t.beta2, t.epsilon, t.schedule, t.warmup_steps) == (0.9, 0.999, 1e-8, "linear", 50)
        assert (t.epochs, t.patience) == (epochs, 0)
        assert (m.pooling, m.head_norm, m.head_init, m.hierarchy) == ("cls", False, "random", "topdown")


@pytest.mark.slow
def test_command_line_beats_experiment_beats_groups() -> None:
    assert compose(["experiment=paper_base", "trainer.epochs=2"]).trainer.epochs == 2
    assert compose(["experiment=paper_base", "hierarchy=bottomup"]).model.hierarchy == "bottomup"
    assert (
        compose(["experiment=paper_base", "trainer=default"]).trainer.learning_rate == TrainerSettings().learning_rate
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model=xlmrr", "did you mean xlmr?"),
        ("model=xlmrr", "available: "),
        ("modell=e5", "did you mean model?"),
        ("hierarchy=topdwn", "did you mean topdown?"),
        ("experiment=dmo", "did you mean demo?"),
        ("trainer.lerning_rate=1", "did you mean trainer.learning_rate?"),
        ("+trainer.lerning_rate=1", "did you mean trainer.learning_rate?"),
        ("++trainer.lerning_rate=1", "did you mean trainer.learning_rate?"),
        ("+model.typo=1", "model has no setting 'typo'"),
        ("trainr.epochs=3", "did you mean trainer?"),
        ("epochs=3", "did you mean trainer.epochs?"),
        ("lerning_rate=1", "did you mean trainer.learning_rate?"),
        ("trainer.hierarchy=topdown", "did you mean model.hierarchy?"),
        ("data.sources=[{pth: a.csv}]", "did you mean path?"),
        ("trainer.epochs=abc", "trainer.epochs: Value 'abc' of type 'str' could not be converted to Integer"),
        ("trainer.epochs=1.5", "trainer.epochs: Value '1.5'"),
        ("trainer.batch_size=null", "trainer.batch_size"),
        ("trainer.bucket=maybe", "trainer.bucket: Value 'maybe' is not a valid bool"),
        ("trainer.schedule=step", "allowed are linear, cosine, constant"),
        ("model.hierarchy=up", "allowed are topdown, bottomup, pathsum"),
        ("evaluation.slices=[country]", "allowed are language, source"),
        ("evaluation.bootstrap=-1", "allowed are integers from 0"),
        ("taxonomy=csv", "set taxonomy.path=FILE.csv"),
        ("taxonomy.depth=-1", "taxonomy.depth"),
        ("data.languages=pl,en", "key=[value1,value2]"),
        ("hydra.swep.dir=x", "hydra.swep: Hydra has no such setting"),
        ("e5", "key=value"),
    ],
)
def test_mistakes_are_named(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([override])
    assert expected in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("data.files=[ogłoszenia.csv]", "data.files=['ogłoszenia.csv']"),
        ("data.files=[my ads (2).csv,b.csv]", "data.files=['my ads (2).csv','b.csv']"),
        ("data.files=['x (1).csv',ł.csv]", "data.files=['x (1).csv','ł.csv']"),
        ("data.language_column=język", "data.language_column='język'"),
        ("data.code_column=it's (1)", "data.code_column='it\\'s (1)'"),
    ],
)
def test_values_that_hydra_cannot_read_are_quoted(given: str, read: str) -> None:
    assert quoted(given) == read
    compose(["data=csv", read])


@pytest.mark.parametrize(
    "given", ["model=e5", "data.files=[a.csv,b c.csv]", "seed=1,2", "-m", "model", "data.files=[ł", "a={ł}", "~x"]
)
def test_other_arguments_stay(given: str) -> None:
    assert quoted(given) == given


def test_setting_of_another_model() -> None:
    with pytest.raises(ConfigError, match=r"a setting of neural, prototype, .* models only"):
        compose(["model=linear", "model.encoder=xlm-roberta-base"])
    with pytest.raises(ConfigError, match="got 'pathsum', allowed are"):
        compose(["model=linear", "hierarchy=pathsum"])


def test_every_setting_can_be_named() -> None:
    """No setting of the dataclasses is out of reach of the command line."""
    config = compose()
    overrides = [
        f"{section}.{field.name}={str(value).lower()}"
        for section in ("model", "trainer", "evaluation", "taxonomy", "data")
        for field in dataclasses.fields(getattr(config, section))
        if isinstance(value := getattr(getattr(config, section), field.name), bool | int | float)
    ]
    again = compose([*overrides, f"run_dir={config.run_dir}"])
    assert len(overrides) > 40
    assert again == config


def _train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_train_py_fails_in_one_message(tmp_path: Path) -> None:
    done = _train("model=xlmrr", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean xlmr?" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_train_py_names_missing_files(tmp_path: Path) -> None:
    done = _train("data=csv", "data.train=[nowhere.csv]", "run_dir=run", cwd=tmp_path)
    assert done.returncode == 2
    # the first run of a new machine also says that it rebuilds the encoder
    errors = [line for line in done.stderr.splitlines() if not line.startswith("hjc: ")]
    assert len(errors) == 1 and errors[0].startswith("error: ") and "nowhere.csv" in errors[0]
