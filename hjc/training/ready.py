"""``hjc ready``: from the files of an office to a model that codes titles and ads, without one coded ad.

Names, descriptions and tasks of the codes train a model of ads (:class:`hjc.classifiers.ads.AdsClassifier`). What it
was made from lies beside it in ``ready/``, so that ``hjc learn`` can go on with coded ads and forget nothing.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from hjc.classifiers.ads_settings import AdsSettings
from hjc.classifiers.coarser import Coarser
from hjc.classifiers.load import training_record
from hjc.classifiers.storage import read_config, stored_taxonomy
from hjc.corpus.composed_ads import NAMES, AdSettings, compose_ads
from hjc.corpus.from_taxonomy import TaxonomyTexts, texts_from_taxonomy
from hjc.data.loading import load_job_data
from hjc.data.sample import sample_rows
from hjc.data.settings import DataSettings, SourceSettings
from hjc.data.splitting import text_key
from hjc.errors import check_range
from hjc.evaluation.watch import LEAST_ROWS, unproven
from hjc.files import check_folder
from hjc.tables import read_table
from hjc.taxonomy import Taxonomy, isco08, write_taxonomy_csv
from hjc.taxonomy.csvio import read_written
from hjc.taxonomy.readers import READERS, ImportOptions, import_taxonomy
from hjc.training.before_after import before_and_after
from hjc.training.ready_card import SAMPLE, ready_card
from hjc.training.ready_tables import COLUMNS, coded_source, dealt, text_columns_of, titles_of, what_to_give
from hjc.training.settings import Config, EvaluationSettings, TaxonomySettings
from hjc.training.workflow import Given, RunResult, run_training

FOLDER, TREE, TEXTS, VALID = "ready", "tree.csv", "texts.csv.gz", "valid.csv.gz"
#: kind -> the reader of its files, where the name is another
READER = {"isco08": "esco"}
#: kinds of text that ready models are made from, and those whose tables are not read
SOURCES = ("title", "alternative", "example", "description", "definition", "task")
NOT_TRAINED_ON = ("technology", "tool", "skill", "knowledge", "ability")


@dataclass(frozen=True, kw_only=True)
class ReadySettings:
    """What a ready model is made of.

    Args:
        languages: of the office's texts; () is all.
        titles: further tables of titles with codes (columns title, code, and language where known).
        tests: coded tables that are only scored (title, body where there is one, code).
        uncoded: tables of ads without codes (title, body), that the model learns from.
        most: names of a code and language that are used at most (0: all).
        composed: ads composed for each code and language (0: none).
        valid: share of the further names that validate.
        parts: run directories of fitted models, further pieces of evidence.
        model: of the ads model.
        seed: draws names and ads.

    Raises:
        ValueError: a number out of its range.
    """

    languages: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    uncoded: tuple[str, ...] = ()
    most: int = 30
    composed: int = 0
    valid: float = 0.05
    parts: tuple[str, ...] = ()
    model: AdsSettings = field(default_factory=AdsSettings)
    seed: int = 1

    def __post_init__(self) -> None:
        check_range("--most", self.most, self.most >= 0, "integers from 0 (all)")
        check_range("--composed", self.composed, self.composed >= 0, "integers from 0")
        check_range("valid", self.valid, 0 <= self.valid < 1, "0 to below 1")


def make_ready(
    kind: str, paths: Sequence[str], output: str | Path, settings: ReadySettings | None = None, encoder: str = "",
    console: Console | None = None,
) -> RunResult:  # fmt: skip
    """Import, make texts, train, evaluate, write a card.

    Args:
        kind: isco08 (from ESCO files), or a reader of ``hjc taxonomy import``: esco, onet, kzis, soc2018 ..., csv.
        paths: files and folders of the office; none for isco08: the bundled sample in their place.
        encoder: a ``model=`` of ``hjc train`` that is trained on the names first and becomes a further part.

    Raises:
        ValueError, FileNotFoundError: an unknown kind, no files, or no texts to train on; a table or part of the
            settings that is not there or cannot be read. NotADirectoryError: the output is a file.
    """
    settings = settings or ReadySettings()
    check_folder(output)
    check_inputs(settings)
    reader = READER.get(kind, kind)
    folder = Path(output) / FOLDER
    tests: dict[str, pd.DataFrame] = {}
    if kind == "isco08" and not paths:
        reader, tree = SAMPLE, isco08()
        made, tests = sample_rows(settings.languages)
    else:
        made, tree = office_table(kind, paths, settings)
    check_parts(settings.parts, tree)
    texts = pd.concat([made, *(titles_of(path, tree) for path in settings.titles)])
    texts = texts.drop_duplicates(["title", "body", "code", "language"], ignore_index=True)
    valid = held_out(texts, settings)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tests.items():
        table.to_csv(folder / f"{name}.csv.gz", index=False)
        settings = replace(settings, tests=(*settings.tests, str(folder / f"{name}.csv.gz")))
    write_taxonomy_csv(tree, folder / TREE)
    texts[~valid].to_csv(folder / TEXTS, index=False)
    texts[valid].to_csv(folder / VALID, index=False)
    if encoder:
        settings = replace(settings, parts=(*settings.parts, train_encoder(Path(output), encoder, settings, console)))
    # hjc ready has no option that puts lost zeros back
    named = Given(taxonomy=read_written(folder / TREE, tree.name), asking="nobody")
    result = run_training(ready_config(Path(output), settings), console, named)
    ready_card(Path(output), kind, reader, titles=settings.titles, uncoded=settings.uncoded)
    return result


def office_table(kind: str, paths: Sequence[str], settings: ReadySettings) -> tuple[pd.DataFrame, Taxonomy]:
    """What the files of an office train (columns :data:`COLUMNS`), and the tree that is coded to.

    Raises:
        ValueError, FileNotFoundError: as :func:`make_ready`.
    """
    reader = READER.get(kind, kind)
    if reader not in READERS:
        raise ValueError(f"kind: got {kind!r}, allowed are {', '.join(dict.fromkeys(('isco08', *READERS)))}")
    options = ImportOptions(languages=settings.languages, skip=NOT_TRAINED_ON)
    imported = import_taxonomy(reader, list(paths), options)
    tree = isco08() if kind == "isco08" else imported.taxonomy
    # of ESCO occupations of one group may share a text: what is shared is settled on the tree that is coded to
    shared = "keep_all" if kind == "isco08" else "drop"
    wanted = TaxonomyTexts(sources=list(SOURCES), languages=list(settings.languages), shared=shared, context={})
    texts = texts_from_taxonomy(imported.taxonomy, imported.to_frame(), wanted).texts
    return training_table(on_tree(texts, imported.taxonomy, tree), settings), tree


def on_tree(texts: pd.DataFrame, deep: Taxonomy, tree: Taxonomy) -> pd.DataFrame:
    """Texts of a deeper tree at the leaves of the one above it; a text of several of these is left out."""
    if deep == tree:
        return texts[texts["code"].isin(tree.leaf_codes)]
    level = tree.depth
    above: dict[str, str] = {}
    for node, code in enumerate(deep.codes):
        column = deep.level_column[node, level - 1]
        name = deep.level_codes(level)[column] if column >= 0 else ""
        above[code] = name if name in tree.index_of else ""
    found = texts.assign(code=texts["code"].map(above))
    found = found[found["code"] != ""].drop_duplicates(["text", "code", "language", "source"])
    names = found["source"].isin(NAMES)
    key = found["text"].str.casefold() + "\0" + found["language"]
    several = found[names].groupby(key[names])["code"].transform("nunique").reindex(found.index, fill_value=1) > 1
    return found[~several]


def training_table(texts: pd.DataFrame, settings: ReadySettings) -> pd.DataFrame:
    """Columns :data:`COLUMNS`: names alone, descriptions and tasks under a name of the code, composed ads."""
    names = texts[texts["source"].isin(NAMES)].sort_values("source", key=lambda s: s.ne("title"), kind="stable")
    if settings.most:
        drawn = names.sample(frac=1, random_state=settings.seed)
        drawn = drawn.sort_values("source", key=lambda s: s.ne("title"), kind="stable")
        names = names.loc[drawn.groupby(["code", "language"]).head(settings.most).index.sort_values()]
    ordered = names.sort_values("source", key=lambda s: s.ne("title"), kind="stable")
    first = ordered.drop_duplicates(["code", "language"]).set_index(["code", "language"])["text"]
    rows = [names.rename(columns={"text": "title"}).assign(body="")[list(COLUMNS)]]
    for source in ("description", "definition", "task"):
        part = texts[texts["source"] == source]
        if source == "task":
            joined = part.groupby(["code", "language"], sort=False)["text"].agg(". ".join)
            part = joined.reset_index()
        if len(part):
            keys = pd.MultiIndex.from_frame(part[["code", "language"]])
            named = part.rename(columns={"text": "body"}).assign(title=first.reindex(keys).to_numpy(), source=source)
            rows.append(named[named["title"].notna()][list(COLUMNS)])
    if settings.composed:
        how = AdSettings(per_code=settings.composed, seed=settings.seed)
        rows.append(compose_ads(texts, how)[list(COLUMNS)])
    return pd.concat(rows, ignore_index=True)


def held_out(texts: pd.DataFrame, settings: ReadySettings) -> pd.Series:
    """(n,) rows that validate: some of the names of codes that keep others, no text of which also trains."""
    alone = texts["body"].eq("") & texts["source"].ne("title")
    drawn = pd.Series(np.random.default_rng(settings.seed).random(len(texts)) < settings.valid, index=texts.index)
    key = texts["title"].map(text_key)
    chosen = alone & drawn
    return chosen & ~key.isin(set(key[~chosen]))


def ready_config(output: Path, settings: ReadySettings, coded: Sequence[SourceSettings] = ()) -> Config:
    """The run over what lies in OUTPUT/ready; ``coded``: further files that are trained on, or split."""
    folder = output / FOLDER
    own: dict[str, Any] = {"text_columns": ["title", "body"], "language_column": "language", "source_column": "source"}
    validates = [] if any(source.role == "split" for source in coded) else [str(folder / VALID)]
    empty = validates and not len(read_table(validates[0]))
    tests = [coded_source(path) for path in settings.tests]
    if not validates:
        tests.append(SourceSettings(path=str(folder / VALID), role="test", name="titles", **own))
    data = DataSettings(
        text_columns=["title", "body"],
        code_column="code",
        valid=[] if empty else validates,
        unlabelled=list(settings.uncoded),
        unlabelled_columns=list(text_columns_of(settings.uncoded)),
        sources=[SourceSettings(path=str(folder / TEXTS), role="train", **own), *coded, *tests],
        language_column="language",
        source_column="source",
        test_fraction=0.0,
        valid_fraction=0.0 if validates else 0.2,
        near_duplicates=0.0 if validates else 0.9,
    )
    model = replace(settings.model, parts=list(settings.parts), seed=settings.seed)
    return Config(
        model=model,
        taxonomy=TaxonomySettings(path=str(folder / TREE)),
        data=data,
        evaluation=EvaluationSettings(),
        seed=settings.seed,
        run_dir=str(output),
    )


def train_encoder(output: Path, encoder: str, settings: ReadySettings, console: Console | None) -> str:
    """Train a model on the names alone; its run directory, ``OUTPUT/ready/encoder``."""
    from hjc.training.config import compose

    folder = output / FOLDER
    texts = read_table(folder / TEXTS)
    texts[texts["body"] == ""].to_csv(folder / "names.csv.gz", index=False)
    config = compose(
        [f"model={encoder}", "data=csv", f"data.train=[{folder / 'names.csv.gz'}]", f"data.valid=[{folder / VALID}]",
         "data.text_columns=[title]", "data.language_column=language", f"taxonomy.path={folder / TREE}",
         f"seed={settings.seed}", f"run_dir={folder / 'encoder'}"]
    )  # fmt: skip
    return str(run_training(config, console).directory)


def check_inputs(settings: ReadySettings) -> None:
    """Raise what training would of tables and parts that are not there or cannot be read: before anything is made."""
    for part in settings.parts:
        read_config(part)
    text_columns_of(settings.uncoded)
    for path in settings.tests:
        coded_source(path)


def check_parts(parts: Sequence[str], tree: Taxonomy) -> None:
    """Raise ValueError, before anything is made, for a part whose tree is neither this one nor a coarser one."""
    for part in parts:
        if (other := stored_taxonomy(part)) != tree:
            try:
                Coarser.of(tree, other)
            except ValueError as error:
                raise ValueError(f"--part {part}: {error}") from error


def ready_tree(output: str | Path) -> Taxonomy:
    """The tree of a ready model.

    Raises:
        FileNotFoundError: it was not made by ``hjc ready``, or its folder ``ready`` is gone.
    """
    path = Path(output) / FOLDER / TREE
    if not path.is_file():
        raise FileNotFoundError(
            f"{output} has no {FOLDER}/{TREE}: hjc learn goes on from models of hjc ready, and needs what they were "
            "made from; other models are trained again with the coded rows as one more source"
        )
    return read_written(path, training_record(output).get("taxonomy", {}).get("name") or path.stem)


def learn(
    model: str | Path, coded: Sequence[str], output: str | Path, *, uncoded: Sequence[str] = (),
    tests: Sequence[str] = (), text_columns: Sequence[str] = (), code: str = "", restore_zeros: bool = False,
    console: Console | None = None,
) -> RunResult:  # fmt: skip
    """A new ready model that has learnt from coded ads too; the old one stays as it is.

    All that the old one was made from is trained on again, so nothing is forgotten; a fifth of the coded ads is held
    back for the weights of title and body and for the calibration (where these are few the others help, coded by models
    that have not seen them, if all had the same chance to be drawn), and the names that the old model was validated on
    are scored as the test ``titles``. Both models are compared on the ads that were held back. Where hardly any was, a
    warning at the end says how many; with fewer than :data:`LEAST_CODED` ads none is: all of them train, names validate
    and calibrate as before, and a warning says so.

    Where a table says with which probability its rows were drawn (``hjc review``), the fifth is drawn so that it is
    like the table that they were drawn from; rows that were picked to learn from are only trained on.

    Args:
        text_columns, code: columns of ``coded`` (title, then body; the code); () and "": found by their names. Coded
            tables that the old model has learnt from keep theirs.
        restore_zeros: put lost leading zeros of codes back where one code is meant; stays so for later models.

    Raises:
        FileNotFoundError: the model is no ready model, or a file is not there.
        NotADirectoryError: the output is a file.
        ValueError: the output is the model itself; a table lacks a column, or a coded one has no rows that can be used.
        TaxonomyError: of a coded table no code, or hardly one, is of the tree.
    """
    source, target = Path(model), Path(output)
    tree = ready_tree(source)
    if target.resolve() == source.resolve():
        raise ValueError(f"-o: {output} is the model itself; give another directory")
    check_folder(target)
    record = training_record(source).get("config", {})
    own = replace(AdsSettings(**record.get("model", {})), unseen_by_parts=True)  # the parts are of before
    was = [s for s in record.get("data", {}).get("sources", []) if s.get("default_source") == "coded"]
    columns = {s["path"]: (s["text_columns"], s["code_column"]) for s in was}
    columns |= dict.fromkeys(coded, (text_columns, code))
    say = partial((console or Console(highlight=False)).print, markup=False, soft_wrap=True)
    restore = restore_zeros or bool(record.get("data", {}).get("restore_zeros"))
    tables = [coded_source(path, "split", *named) for path, named in columns.items()]
    settings = ReadySettings(uncoded=tuple(uncoded), tests=tuple(tests), parts=tuple(own.parts), model=own)
    check_inputs(settings)
    deal = dealt(tables, tree, say, restore)
    settings = replace(settings, model=replace(own, cross_calibrate=deal.even))
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source / FOLDER, target / FOLDER, dirs_exist_ok=True)
    config = ready_config(target, settings, deal.sources)
    config = replace(config, data=replace(config.data, restore_zeros=restore))
    result = run_training(config, console, Given(taxonomy=tree, asking="command"))
    if result.model is not None:
        splits = load_job_data(config.data, result.model.taxonomy, asking="command")
        ads, names = (None, splits.valid) if deal.few else (splits.valid, splits.tests.get("titles"))
        for line in before_and_after(source, result.model, ads, names):
            say(line)
    if deal.few:
        say(f"warning: {deal.few}")
        return result
    held = len(result.evaluations["valid"].scores) if "valid" in result.evaluations else 0
    crossed = None if result.model is None else result.model.cross_fitted
    if unsure := unproven(held + (0 if crossed is None else len(crossed[0]))):
        say(
            f"warning: of the coded ads {held} {'was' if held == 1 else 'were'} held back to weigh title and body and "
            f"to calibrate: {unsure}. {what_to_give(held, round(LEAST_ROWS / config.data.valid_fraction))}"
        )
    return result
