"""From settings to Splits: every file read, rows dealt to training, validation and tests."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from hjc.arrays import Float64, IntArray
from hjc.data.jobdata import JobData
from hjc.data.reading import ReadFile, read_file, read_frame
from hjc.data.recipe import OK, TextRecipe
from hjc.data.sample import load_sample
from hjc.data.settings import DataSettings
from hjc.data.splits import TRAIN_ONLY, Splits, no_rejects
from hjc.data.splitting import (
    TEST,
    TRAIN,
    VALID,
    identical_groups,
    merge_groups,
    near_duplicate_groups,
    sampling_order,
    split_rows,
    systematic_sample,
    text_key,
)
from hjc.errors import name_some
from hjc.files import write_text
from hjc.tables import ReadOptions, read_rows
from hjc.taxonomy.spelling import Asking
from hjc.taxonomy.tree import Taxonomy


def load_job_data(
    settings: DataSettings,
    taxonomy: Taxonomy,
    *,
    rejects_path: Path | str | None = None,
    frames: Mapping[str, pd.DataFrame] | None = None,
    asking: Asking = "training",
) -> Splits:
    """Read all files of the settings and deal their rows.

    Given splits (train, valid, test files, or a split column) are taken as they are; texts that are in training and in
    a test as well are counted in the notes. Files to be split are dealt by :func:`hjc.data.splitting.split_rows`;
    the rows of train files and sources stay in training there, and what equals them goes with them. Where nothing
    is given to validate on, ``valid_fraction`` of the training rows is carved out in the same way, but never from
    files that the settings list as ``sources`` of role train (dictionaries are no sample of what is to be coded),
    unless there is nothing else.

    Args:
        rejects_path: write the table of rejects there (CSV); without rejects an empty table with its header.
        frames: tables in memory that stand for paths of the settings.
        asking: whom rejects tell how to put lost zeros back, see :func:`hjc.taxonomy.spelling.repair_codes`.

    Raises:
        ValueError: nothing is left to train on although training files are given; a language of the filter occurs in
            no file; and all of :func:`hjc.data.reading.read_file`.
        TaxonomyError: a file has codes, and not one is in the taxonomy.
    """
    if settings.sample:
        splits = load_sample(taxonomy, settings.languages or None, settings.sample_training_ads)
        _add_sources(splits, settings, taxonomy, asking)
    else:
        splits = _load_files(settings, taxonomy, frames or {}, asking)
    _add_unlabelled(settings, splits)
    if settings.max_train_rows and len(splits.train) > settings.max_train_rows:
        before = len(splits.train)
        splits.train = _draw(splits.train, settings.max_train_rows, settings.seed)
        splits.counts["not_drawn"] = before - len(splits.train)
    if rejects_path is not None:
        write_text(rejects_path, splits.rejects.to_csv(index=False))
    return splits


def _add_sources(splits: Splits, settings: DataSettings, taxonomy: Taxonomy, asking: Asking) -> None:
    """Rows of files beside the bundled sample: what coders corrected. Raises ValueError for a role but train."""
    if not settings.sources:
        return
    if other := [source.role for source in settings.sources if source.role != "train"]:
        raise ValueError(f"data.sources: beside data.sample=true only files with role train are read, got {other[0]!r}")
    for part in (read_file(source, settings, taxonomy, asking=asking) for source in settings.all_sources()):
        splits.train = JobData.concat([splits.train, part.data])
        splits.rejects = pd.concat([splits.rejects, part.rejects], ignore_index=True)
        splits.counts = dict(Counter(splits.counts) + part.counts)
        splits.notes += part.notes


def _add_unlabelled(settings: DataSettings, splits: Splits) -> None:
    """Texts of the files without codes. Validation and test texts are left out: nothing may be learnt from them."""
    if not settings.unlabelled:
        return
    recipe, held = TextRecipe.of(settings), {key: data for key, data in splits.named().items() if key != "train"}
    tested = {text_key(text) for data in held.values() for text in data.texts}
    columns = settings.unlabelled_columns or settings.text_columns
    options = ReadOptions.given(
        separator=settings.separator, encoding=settings.encoding, quote=settings.quote, sheet=settings.sheet
    )
    for path in settings.unlabelled:
        table = read_rows(path, options)
        texts, status = recipe.read([table.column(name).tolist() for name in columns])
        usable = [text for text, why in zip(texts, status, strict=True) if why == OK]
        new = [text for text in usable if text_key(text) not in tested]
        splits.unlabelled += tuple(new)
        gone = f", {len(usable) - len(new):,} are validation or test texts" if len(new) < len(usable) else ""
        empty = f", {len(texts) - len(usable):,} without text" if len(usable) < len(texts) else ""
        splits.notes.append(f"{path}: {len(new):,} of {len(texts):,} texts without codes are used{empty}{gone}")


def _load_files(
    settings: DataSettings, taxonomy: Taxonomy, frames: Mapping[str, pd.DataFrame], asking: Asking
) -> Splits:
    sources = settings.all_sources()
    extra_from = len(sources) - len(settings.sources)
    parts = [
        read_frame(frames[source.path], source, settings, taxonomy)
        if source.path in frames
        else read_file(source, settings, taxonomy, asking=asking)
        for source in sources
    ]
    rejects = [part.rejects for part in parts if len(part.rejects)]
    counts: Counter[str] = sum((part.counts for part in parts), Counter())
    notes = [note for part in parts for note in part.notes]
    _check_languages(settings, parts, int(counts["filtered"]))

    side, fixed, tests = _given_sides(parts, extra_from)
    data = JobData.concat(part.data for part in parts)
    only_train = np.array([source in TRAIN_ONLY for source in data.source], dtype=bool)
    side[only_train & (side < 0)], fixed = TRAIN, fixed | only_train
    if len(given := np.flatnonzero(only_train & (side != TRAIN))):
        name = data.source[given[0]]
        raise ValueError(
            f"data: {len(given):,} rows of validation or test files are {TRAIN_ONLY[name]} (source {name!r}): figures "
            "on them say nothing about real ads; give them as data.train or as a source of role train"
        )
    to_split = np.flatnonzero(side < 0)
    carve = (
        settings.valid_fraction > 0 and not to_split.size and not (side == VALID).any() and bool((side == TRAIN).any())
    )
    groups = None
    if to_split.size or carve:
        groups = _groups(data, parts, to_split, settings, carve)
        pool = np.flatnonzero((side == TRAIN) | (side < 0))
        stays = fixed[pool] & ~fixed[pool].all() if carve else side[pool] == TRAIN
        side[pool] = split_rows(
            taxonomy,
            data.gold[pool],
            source=_numbers(data.source)[pool],
            groups=groups[pool],
            fixed_train=stays,
            test_fraction=0.0 if carve else settings.test_fraction,
            valid_fraction=0.0 if (side == VALID).any() else settings.valid_fraction,
            singletons="train" if carve else settings.singletons,
            seed=settings.seed,
            size=sizes[pool] if (sizes := _sizes(parts)) is not None else None,
        )
    if groups is not None:
        data = dataclasses.replace(data, group=groups)
    named = {name: data.take((side == TEST) & (tests == name)) for name in sorted(set(tests[side == TEST].tolist()))}
    splits = Splits(
        train=data.take(side == TRAIN),
        valid=data.take(side == VALID),
        tests=named,
        rejects=pd.concat(rejects, ignore_index=True) if rejects else no_rejects(),
        counts=dict(counts),
        notes=notes,
    )
    if not len(splits.train) and any(part.settings.role in ("train", "split") for part in parts):
        reasons = splits.rejects["reason"].str.split(":").str[0].value_counts().to_dict()
        why = ", ".join(f"{reason} ({count:,})" for reason, count in reasons.items()) or "files without rows"
        raise ValueError(f"data: no row is left to train on; rejected: {why}; filtered: {counts['filtered']:,}")
    _note_overlap(splits)
    return splits


def _given_sides(
    parts: list[ReadFile], extra_from: int
) -> tuple[IntArray, "np.ndarray[tuple[int], np.dtype[np.bool_]]", "np.ndarray[tuple[int], np.dtype[np.object_]]"]:
    """For all rows: side (-1: to be split), whether from a training-only source, and the name of the test."""
    sides, fixed, tests = [], [], []
    by_name = {"train": TRAIN, "valid": VALID, "test": TEST}
    for i, part in enumerate(parts):
        n, role = len(part.data), part.settings.role
        if role == "split" and part.split is not None:
            sides.append(np.array([by_name[x] for x in part.split], dtype=np.int64))
        else:
            sides.append(np.full(n, by_name.get(role, -1), dtype=np.int64))
        fixed.append(np.full(n, i >= extra_from and role == "train"))
        tests.append(np.full(n, part.settings.name if role == "test" else "test", dtype=object))
    return np.concatenate(sides), np.concatenate(fixed), np.concatenate(tests)


def _sizes(parts: list[ReadFile]) -> Float64 | None:
    """(n,) how much sooner a row validates than others of its file, 1 on average: the less probable it was to be drawn,
    so that all rows of the table it was drawn from had the same chance. None where no file has an inclusion column."""
    if all(part.inclusion is None for part in parts):
        return None
    sizes = []
    for part in parts:
        n = len(part.data)
        given = np.ones(n) if part.inclusion is None else part.inclusion
        size = np.divide(1.0, given, out=np.zeros(n), where=given > 0)
        sizes.append(size * (n / total if (total := size.sum()) else 0.0))
    return np.concatenate(sizes)


def _groups(data: JobData, parts: list[ReadFile], to_split: IntArray, settings: DataSettings, carve: bool) -> IntArray:
    """(n,) rows that must stay together: identical texts, equal group column, near-duplicates among rows to split."""
    groupings = [identical_groups(data.texts)]
    if any(part.group is not None for part in parts):
        values = [part.group if part.group is not None else np.full(len(part.data), "", object) for part in parts]
        column = np.concatenate(values)
        number = pd.factorize(column)[0].astype(np.int64)
        groupings.append(np.where(column == "", -1, number))
    if settings.near_duplicates > 0:
        rows = np.arange(len(data)) if carve else to_split
        near = np.full(len(data), -1, dtype=np.int64)
        near[rows] = near_duplicate_groups([data.texts[i] for i in rows.tolist()], settings.near_duplicates)
        groupings.append(near)
    return merge_groups(*groupings)


def _draw(data: JobData, rows: int, seed: int) -> JobData:
    """``rows`` rows, spread over codes, languages and sources, in the order in which they stand."""
    rng = np.random.default_rng(seed)
    origin = _numbers(tuple(f"{a}|{b}" for a, b in zip(data.language, data.source, strict=True)))
    order = sampling_order(data.taxonomy, data.gold, origin, rng)
    drawn = order[systematic_sample(len(order), rows / len(order), rng.random())]
    return data.take(np.sort(drawn[:rows]))


def _numbers(values: tuple[str, ...]) -> IntArray:
    return pd.factorize(np.array(values, dtype=object), sort=True)[0].astype(np.int64)


def _check_languages(settings: DataSettings, parts: list[ReadFile], filtered: int) -> None:
    present = {language for part in parts for language in part.data.language}
    missing = [x for x in settings.languages if x.lower() not in present]
    if missing:
        kept = ", ".join(sorted(present)) or "none"
        raise ValueError(
            f"data.languages: no usable row has {name_some(missing)}; kept languages: {kept}; filtered out: "
            f"{filtered:,} rows. Languages are compared as written in the language column, in any case"
        )


def _note_overlap(splits: Splits) -> None:
    """Count the rows of validation and tests whose text is also in training."""
    held = {key: data for key, data in splits.named().items() if key != "train" and len(data)}
    if not held or not len(splits.train):
        return
    trained = {text_key(text) for text in splits.train.texts}
    for key, data in held.items():
        both = sum(text_key(text) in trained for text in data.texts)
        if both:
            splits.counts[f"overlap_{key}"] = both
            splits.notes.append(f"{key}: {both:,} of {len(data):,} texts are in the training rows as well")
