"""What the moving average of weights does in two passes, by one training: the mean, and the weights as they end.

python experiments/encoder_ablation/moving_average.py [--outputs DIR]   (half an hour of a core)

The average does not change what is learnt, so one training has both. `trainer=steady` with 64 tokens, on the rows of
the other runs; both are asked for the validation rows. Writes moving_average.csv.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT, write_lines
from encoder_ablation.run import METRICS, SHORT, paired_difference, row_values
from pytorch_lightning.callbacks import EMAWeightAveraging
from safetensors.torch import load_file

import hjc
from hjc.classifiers.neural import NeuralClassifier
from hjc.metrics import score_rows
from hjc.nn.stored import save_weights
from hjc.report.scores import StoredScores
from hjc.training.config import compose
from hjc.training.workflow import load_inputs, run_training

STEADY = [*SHORT, "trainer=steady", "trainer.epochs=2", "data.seed=1"]


class Both(EMAWeightAveraging):
    """Stores the weights as they are, before the mean takes their place at the end."""

    path = Path()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        save_weights(pl_module.network, self.path)
        super().on_train_end(trainer, pl_module)


def main(outputs: Path) -> None:
    run = outputs / "moving_average"
    Both.path = outputs / "without_average.safetensors"
    if not (run / "config.json").exists():
        run_training(compose([*STEADY, f"run_dir={run}"]))
    averaged = StoredScores.read(run / "scores_valid.parquet")
    tree, splits = load_inputs(compose(STEADY), None)
    assert splits.valid is not None
    rows = splits.valid
    model = cast(NeuralClassifier, hjc.load(run))
    assert model.network is not None
    model.network.load_state_dict(load_file(Both.path))
    as_they_are = score_rows(tree, model.leaf_log_proba(rows.texts), rows.target)
    lines: list[dict[str, object]] = []
    for level in range(1, tree.depth + 1):
        for metric in METRICS:
            without, mean = (row_values(scores, level, metric) for scores in (as_they_are, averaged.scores))
            line = {"level": level, "metric": metric, "averaged": mean.mean(), "as_they_are": without.mean()}
            lines.append(line | paired_difference((without - mean)[None], averaged.group))
    write_lines("encoder_ablation", lines, name="moving_average.csv")


if __name__ == "__main__":
    import pytorch_lightning.callbacks

    pytorch_lightning.callbacks.EMAWeightAveraging = Both  # type: ignore[misc]
    parser = argparse.ArgumentParser()
    parser.add_argument("--outputs", type=Path, default=ROOT / "outputs" / "encoder_ablation")
    main(parser.parse_args().outputs)
