"""Train, save and evaluate one classifier, or a sweep of them.

    python train.py model=e5 hierarchy=topdown
    python train.py -m model=e5,linear hierarchy=topdown,bottomup seed=1,2
    python train.py data=csv data.files=[ads.csv] data.text_columns=[title,description] data.code_column=isco
    python train.py --help

`hjc train ...` is the same and needs no checkout. The settings are those of hjc/configs, typed by hjc.training.config.
"""

from hjc.training.config import Config, run
from hjc.training.workflow import run_training


def train(config: Config) -> float | None:
    """One run: load, fit, save, evaluate. Returns the validation log-loss, which sweeps and searches minimise."""
    return run_training(config).log_loss


if __name__ == "__main__":
    run(train)
