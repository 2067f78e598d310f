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
import numpy as np
from common import ROOT, mean_difference, write_lines
from encoder_ablation.run import SHORT
from kzis_ads.run import GROUPED
from pytorch_lightning.callbacks import EMAWeightAveraging
from safetensors.torch import load_file

import hjc
from hjc.classifiers.neural import NeuralClassifier
from hjc.metrics import score_rows
from hjc.nn.stored import save_weights
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
    tree, splits = load_inputs(compose([*GROUPED, *STEADY]), None)
    assert splits.valid is not None
    rows = splits.valid
    model = cast(NeuralClassifier, hjc.load(run))
    averaged = score_rows(tree, model.leaf_log_proba(rows.texts), rows.target)
    assert model.network is not None
    model.network.load_state_dict(load_file(Both.path))
    as_they_are = score_rows(tree, model.leaf_log_proba(rows.texts), rows.target)
    lines: list[dict[str, object]] = []
    for level in range(1, tree.depth + 1):
        for metric in ("recall@1", "log_loss"):
            without, mean = (
                (s.rank[:, level - 1] == 1).astype(np.float64) if metric == "recall@1" else -s.log_p[:, level - 1]
                for s in (as_they_are, averaged)
            )
            drawn = mean_difference((without - mean)[None], rows.group)
            low, high = np.percentile(drawn[1:], (2.5, 97.5))
            line = {"level": level, "metric": metric, "averaged": mean.mean(), "as_they_are": without.mean()}
            lines.append(line | {"difference": float(drawn[0]), "low": float(low), "high": float(high)})
    write_lines("encoder_ablation", lines, name="moving_average.csv")


if __name__ == "__main__":
    import pytorch_lightning.callbacks

    pytorch_lightning.callbacks.EMAWeightAveraging = Both  # type: ignore[misc]
    parser = argparse.ArgumentParser()
    parser.add_argument("--outputs", type=Path, default=ROOT / "outputs" / "encoder_ablation")
    main(parser.parse_args().outputs)
