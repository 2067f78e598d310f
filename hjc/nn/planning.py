"""``trainer.auto``: rate, passes and length of a training, from its rows, this machine and the minutes it may take.

Some steps are timed on real batches, and forgotten. The schedule is then laid out over the steps that fit, so that the
rate reaches 0 when the time is over; a training that ``max_minutes`` cuts off ends at a high rate instead. With a
:class:`hjc.nn.settings.Pace` that is all: rates and passes are those of the settings.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from hjc.arrays import IntArray
from hjc.files import read_json, write_json
from hjc.nn.fitting import resolve_precision
from hjc.nn.module import OptimisedModule
from hjc.nn.settings import Pace, Run, TrainerSettings

#: share of the minutes that is laid out; the rest is for what timing cannot foresee
SHARE = 0.9
#: lengths in tokens that are chosen among, below the longest that is allowed
LENGTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512)
#: a length is given up for a shorter one where it leaves fewer passes over the rows than this
LEAST_PASSES = 1.5
#: (rows up to, passes over them): more passes have fitted the training rows without gain (experiments/kzis_ads)
PASSES = ((2_000, 8), (8_000, 5), (30_000, 3), (float("inf"), 2))
#: rate of an encoder 384 wide over one pass, and over more; it falls with the width to this power
ONE_PASS, MORE, POWER = 2e-4, 1e-4, 1.75
#: batches that are timed, after some that warm up; fewer where they take more than this share of the minutes
TIMED, WARM, TIMING = 8, 2, 0.05
#: what a validation costs a token, in steps of training
FORWARD = 1 / 3
PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """What a training does. ``look_every``: batches after which it validates, so that the last step is validated, too;
    ``tokens_per_second`` is 0 where nothing was timed, as there is no limit of minutes."""

    max_length: int
    look_every: int
    epochs: int
    max_steps: int
    warmup_steps: int
    learning_rate: float
    head_learning_rate: float
    tokens_per_second: float

    def of(self, settings: TrainerSettings) -> TrainerSettings:
        """The trainer's settings with those of the plan."""
        names = ("epochs", "max_steps", "warmup_steps", "learning_rate", "head_learning_rate")
        return replace(settings, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Work:
    """What there is to do: (n,) tokens of the training examples and (v,) of the validation rows, before they are cut,
    and the batches of an epoch.

    ``look``: seconds of a validation beside its tokens; ``spent``: seconds of the minutes that are over."""

    lengths: IntArray
    valid: IntArray
    per_epoch: int
    width: int
    look: float = 0.0
    spent: float = 0.0


def passes(rows: int) -> int:
    """Passes over the rows at most."""
    return next(count for most, count in PASSES if rows <= most)


def lay_out(work: Work, settings: TrainerSettings, lengths: Sequence[int], tokens_per_second: float) -> Plan:
    """The longest texts that leave enough passes, as many passes as are useful and fit, and the rate that suits them.

    Without ``settings.auto`` the passes, at most, and the rates are those of the settings.

    Args:
        lengths: tokens to choose among, ascending; the last is the longest allowed.
        tokens_per_second: of training steps on this machine; matters with ``max_minutes`` alone.
    """
    most = passes(len(work.lengths)) if settings.auto else settings.epochs
    needed = float(np.quantile(work.lengths, 0.95))
    able = [n for n in lengths if n < needed] + [next((n for n in lengths if n >= needed), lengths[-1])]
    able = list(dict.fromkeys(able))
    seconds, found, fits = max(0.0, 60 * settings.max_minutes * SHARE - work.spent), able[-1], float(most)
    if settings.max_minutes:
        for found in reversed(able):
            look = FORWARD * np.minimum(work.valid, found).sum() / tokens_per_second + work.look
            steps_only = np.minimum(work.lengths, found).sum() / tokens_per_second
            fits = min(most, seconds / (steps_only + look * settings.validate_per_epoch))
            if work.look and fits * settings.validate_per_epoch < 1:  # there is one validation, at the end
                fits = min(1 / settings.validate_per_epoch, max(0.0, seconds - look) / steps_only)
            if fits >= min(LEAST_PASSES, most):
                break
    per_pass, looks = -(-work.per_epoch // settings.accumulate), max(1, round(fits * settings.validate_per_epoch))
    if fits > 1 and settings.accumulate > 1:  # the last step of a pass gathers fewer batches: whole passes are counted
        fits = float(int(fits))
        looks = int(fits)
        steps, look_every = looks * per_pass, work.per_epoch
    else:
        whole = max(1, int(fits * per_pass))
        looks = min(looks, whole)
        steps = whole // looks * looks
        look_every = steps // looks * settings.accumulate
    rate, head_rate = settings.learning_rate, settings.head_learning_rate
    if settings.auto:
        width = (work.width / 384) ** -POWER if work.width > 384 else 1.0
        rate = (ONE_PASS if fits <= 1 else MORE) * width
        rate, head_rate = float(f"{rate:.2g}"), float(f"{max(10 * rate, 1e-3):.2g}")
    return Plan(
        max_length=found,
        look_every=look_every,
        epochs=int(np.ceil(steps / per_pass)),
        max_steps=steps,
        warmup_steps=min(100 if settings.auto else settings.warmup_steps, max(1, steps // 16)),
        learning_rate=rate,
        head_learning_rate=head_rate,
        tokens_per_second=round(tokens_per_second, 1),
    )


def tokens_of(batch: dict[str, Any]) -> int:
    """Tokens that are no padding."""
    return int(sum(int(value.sum()) for key, value in batch.items() if key.endswith("attention_mask")))


def time_steps(module: OptimisedModule, batches: Sequence[dict[str, Any]], precision: str, most: float) -> float:
    """Tokens a second of whole steps; the module is then as it was, and so are the random numbers.

    Args:
        batches: of training, drawn over an epoch; the first ``WARM`` go through once more before the clock runs.
        precision: Lightning's name.
        most: seconds after which no further batch is timed, if one is.
    """
    kept = {name: value.detach().cpu().clone() for name, value in module.network.state_dict().items()}
    drawn = torch.get_rng_state()
    device = torch.device("cuda" if torch.cuda.is_available() and module.settings.accelerator != "cpu" else "cpu")
    module.network.to(device).train()
    optimizer = module.configure_optimizers()["optimizer"]
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    seconds = tokens = 0.0
    began = time.perf_counter()
    for number, batch in enumerate([*batches[:WARM], *batches]):
        if seconds and time.perf_counter() - began > most:
            break
        given = {key: value.to(device) for key, value in batch.items()}
        started = time.perf_counter()
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            loss = (module.losses(given) * given["weight"]).sum() / given["weight"].sum().clamp(min=1e-12)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= WARM:
            seconds += time.perf_counter() - started
            tokens += tokens_of(batch)
    optimizer.zero_grad()
    module.network.load_state_dict(kept)
    torch.set_rng_state(drawn)
    return tokens / max(seconds, 1e-9)


def plan_of(
    build: Callable[[int], OptimisedModule],
    epoch: Sequence[IntArray],
    assemble: Callable[[Sequence[int]], dict[str, Any]],
    tokens: IntArray | None,
    valid: IntArray,
    run: Run,
    lengths: Sequence[int] = (),
) -> Plan:
    """The plan of a run: the one that its folder holds, so that a resumed run goes on with it, else a new one.

    ``run.pace`` is told.

    Args:
        epoch, assemble: examples of each batch of the first epoch, and what makes tensors of them.
        tokens: (n,) of the examples; None: the examples are batches, and an average row stands for each of theirs.
        valid: (v,) tokens of the validation rows, empty where none are looked at.
        lengths: as of :func:`lay_out`; none: texts stay as they are.

    Raises:
        ValueError: several processes train, each of which would plan by its own clock.
    """
    settings, pace = run.settings, run.pace or Pace()
    if (settings.devices, settings.num_nodes) != (1, 1):
        raise ValueError(
            f"trainer.auto plans for one process: got trainer.devices={settings.devices} and "
            f"trainer.num_nodes={settings.num_nodes}; set epochs and rates by hand"
        )
    assert run.folder is not None
    file = run.folder / PLAN
    if file.exists() and settings.resume:
        known = read_json(file)
        if known.pop("fingerprint", None) == run.fingerprint:
            return _told(Plan(**known), len(epoch), settings, pace)
    at = np.linspace(0, len(epoch) - 1, min(TIMED, len(epoch))).astype(int).tolist()
    batches = [assemble(epoch[i].tolist()) for i in at]
    if tokens is None:
        of_row = float(np.mean([tokens_of(batch) / len(batch["weight"]) for batch in batches]))
        tokens = np.full(len(epoch) * settings.batch_size, max(1, round(of_row)), np.int64)
    module, precision = build(100), resolve_precision(settings.precision)
    began, rate = time.monotonic(), 0.0
    if settings.max_minutes:
        rate = time_steps(module, batches, precision, 60 * settings.max_minutes * TIMING)
    width = int(getattr(module.network.encoder.config, "hidden_size", 384))
    work = Work(tokens, valid, len(epoch), width, pace.look, time.monotonic() - began)
    plan = lay_out(work, settings, lengths or [int(tokens.max(initial=1))], rate)
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(plan) | {"fingerprint": run.fingerprint})
    return _told(plan, len(epoch), settings, pace)


def _told(plan: Plan, per_epoch: int, settings: TrainerSettings, pace: Pace) -> Plan:
    if pace.tell is not None:
        batches = plan.max_steps * settings.accumulate
        pace.tell(
            f"planned for {settings.max_minutes:g} minutes: {batches:,} batches of {settings.batch_size}, "
            f"{batches / per_epoch:.2g} passes of {per_epoch:,}; the rate falls to 0 over them"
        )
    return plan
