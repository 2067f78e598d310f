"""Means of weights, chosen on validation rows: of the states along a training, and of its end with its start.

Means of fine-tuned weights of one start are often better than each of them (model soups; Wortsman et al. 2022a), and
so is a point between start and end (WiSE-FT; Wortsman et al. 2022b). Either costs a pass over the validation rows for
each candidate, nothing at prediction, and never gives up what was best so far.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from safetensors.torch import load_file
from torch import Tensor, nn

from hjc.nn.stored import save_weights

State = Mapping[str, Tensor]
#: shares of the start that are tried
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
#: states that are kept along a training, the last ones
MOST = 10


def mean_state(states: list[State]) -> dict[str, Tensor]:
    """The mean of each weight; what is no floating-point number is that of the last state."""
    out: dict[str, Tensor] = {}
    for name, last in states[-1].items():
        same = [state[name] for state in states]
        out[name] = torch.stack(same).mean(0) if last.is_floating_point() else last
    return out


def between(start: State, end: State, share: float) -> dict[str, Tensor]:
    """``share`` of the start and 1 - share of the end."""
    return {n: torch.lerp(e, start[n], share) if e.is_floating_point() else e for n, e in end.items()}


def copy_of(network: nn.Module) -> dict[str, Tensor]:
    """The weights of a network, on the CPU, by value."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


class KeepStates(Callback):
    """Writes the weights that each validation sees, averaged ones where there is a moving average.

    Must stand behind the callback of the moving average, which puts its weights in place for a validation.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        network: Any = pl_module.network
        save_weights(network, self.folder / f"{trainer.global_step:09d}.safetensors")
        for old in sorted(self.folder.glob("*.safetensors"))[:-MOST]:
            old.unlink()


def along_the_run(folder: Path) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The mean of the last two kept states, of the last three and so on; nothing where fewer than two are there."""
    files = sorted(folder.glob("*.safetensors"))[::-1]
    states: list[State] = []
    for file in files:
        states.insert(0, load_file(file))
        if len(states) > 1:
            yield f"mean of the last {len(states)} states", mean_state(states)


def choose(
    network: nn.Module, score: Callable[[], float], kind: str, start: State, folder: Path, least: float
) -> tuple[str, float]:
    """Put the best of the means into the network by validation log-loss; it stays as it is where none is better.

    Args:
        score: validation log-loss of the network as it is.
        kind: ``run``, ``start`` or ``both`` (``trainer.average``).
        start: the weights before the first step.
        folder: where :class:`KeepStates` wrote.
        least: the log-loss of the network as it is.

    Returns:
        What is in the network ("" as it was) and its log-loss.
    """
    best, name = copy_of(network), ""

    def attempt(candidate: str, state: dict[str, Tensor]) -> None:
        nonlocal best, name, least
        network.load_state_dict(state)
        if (found := score()) < least:
            best, name, least = state, candidate, found

    if kind in ("run", "both"):
        for candidate, state in along_the_run(folder):
            attempt(candidate, state)
    if kind in ("start", "both"):
        end, ending = best, name
        for share in SHARES:
            attempt(f"{ending + ', ' if ending else ''}{share:.0%} of the start", between(start, end, share))
    network.load_state_dict(best)
    return name, least
