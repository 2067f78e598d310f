"""Search settings by validation log-loss: plain Optuna (extra `search`), one training after the other.

    python experiments/optuna_search.py --trials 20 experiment=demo
    python experiments/optuna_search.py --trials 20 --storage sqlite:///outputs/search.db model=linear

What stands after the options is the command line of train.py. With --storage a later call goes on where this one
stopped. Each trial is a run directory like any other; `trials.csv` beside them has one line a trial.
"""

import argparse
import sys
from pathlib import Path

try:
    import optuna
except ImportError:
    sys.exit('error: the search needs optuna: pip install "hjc[search]"')

from hjc.training.config import ConfigError, compose
from hjc.training.workflow import run_training


def suggest(trial: optuna.Trial, kind: str) -> list[str]:
    """The search space: edit here. Returns overrides of train.py."""
    if kind == "linear":
        values = {
            "model.C": trial.suggest_float("C", 0.3, 100, log=True),
            "model.features": trial.suggest_categorical("features", ["word", "char", "both"]),
            "model.floor": trial.suggest_float("floor", 1e-3, 0.2, log=True),
        }
    else:
        values = {
            "trainer.learning_rate": trial.suggest_float("learning_rate", 3e-5, 6e-4, log=True),
            "trainer.head_learning_rate": trial.suggest_float("head_learning_rate", 3e-4, 6e-3, log=True),
            "model.hierarchy": trial.suggest_categorical("hierarchy", ["topdown", "bottomup", "pathsum"]),
        }
    return [f"{key}={value}" for key, value in values.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--storage", default=None, help="e.g. sqlite:///outputs/search.db; default: in memory")
    parser.add_argument("--output", type=Path, default=Path("outputs/search"))
    parser.add_argument("overrides", nargs="*", help="as for train.py")
    args = parser.parse_intermixed_args()
    try:
        kind = compose(args.overrides).model.name
    except ConfigError as error:
        parser.exit(2, f"error: {error}\n")
    study = optuna.create_study(
        study_name="hjc", direction="minimize", storage=args.storage, load_if_exists=args.storage is not None,
        sampler=optuna.samplers.TPESampler(seed=1),
    )  # fmt: skip
    args.output.mkdir(parents=True, exist_ok=True)
    for _ in range(args.trials):
        trial = study.ask()
        directory = args.output / f"trial_{trial.number:03d}"
        overrides = [*args.overrides, *suggest(trial, kind), f"run_dir={directory}", "evaluation=quick"]
        try:
            loss = run_training(compose(overrides)).log_loss
        except ConfigError as error:
            parser.exit(2, f"error: {error}\n")
        if loss is None:
            raise SystemExit("error: a search needs validation rows; see data.valid and data.valid_fraction")
        study.tell(trial, loss)
        study.trials_dataframe(attrs=("number", "value", "params", "duration")).to_csv(
            args.output / "trials.csv", index=False
        )
        print(f"trial {trial.number}: log-loss {loss:.4f}, best {study.best_value:.4f} {study.best_params}", flush=True)


if __name__ == "__main__":
    main()
