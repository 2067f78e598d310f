"""Spark: a model as a pandas UDF, loaded once in each Python worker.

from hjc.spark import predict_udf

code = predict_udf("outputs/titles", text="title", level=4)
ads.withColumn("coded", code("title")).select("*", "coded.*").drop("coded")
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from hjc.apply.arrow import ArrowCoder, named
from hjc.apply.step import Step
from hjc.errors import check_range

#: of this process: a step, as text, and what it has loaded
_loaded: dict[str, ArrowCoder] = {}


def loaded(step: Step) -> ArrowCoder:
    """The model of a step, loaded when this process first asks for it; an earlier one makes room."""
    if (key := repr(step)) not in _loaded:
        _loaded.clear()
        _loaded[key] = ArrowCoder(step.load())
    return _loaded[key]


def predict_udf(
    run_dir: str | os.PathLike[str],
    *,
    text: str | Sequence[str] = (),
    columns: Sequence[str] = (),
    level: int | Sequence[int] = (),
    top_k: int = 1,
    language: str | None = None,
    prefix: str = "hjc_",
    calibrated: bool = False,
    precision: str | None = None,
    **rules: Any,
) -> Any:
    """A pandas UDF whose value is a struct of the columns that ``hjc predict`` adds, with the same values.

    It is called with the text columns in their order. The driver loads the model once, to know its columns; each Python
    worker loads it once and keeps it for further tasks.

    Args:
        run_dir: the model directory, which every worker must reach under this path.
        text: column or columns of the texts; those of the training by default.
        columns: what the UDF will be called with, by the names the model knows, where that is more than the texts
            (side variables, the language); the texts by default.
        level, top_k, language, prefix, calibrated, precision, rules: as of :func:`hjc.map_batches`.

    Raises:
        ImportError: PySpark is not installed. FileNotFoundError, ModelDirError, ValueError: as of hjc.map_batches.
    """
    try:
        from pyspark.sql.functions import pandas_udf
        from pyspark.sql.types import DoubleType, StringType, StructField, StructType
    except ImportError as error:
        raise ImportError("hjc.spark needs `pip install 'hjc[spark]'`, and Java 17 or newer") from error
    step = Step(
        run_dir=str(run_dir), text_columns=named(text), all_text=True, top_k=top_k, title_language=language,
        levels=(level,) if isinstance(level, int) else tuple(level), prefix=prefix, calibrated=calibrated,
        precision=precision, rules=rules,
    )  # fmt: skip
    names = tuple(columns) or step.recipe().columns
    new = loaded(step).coder.plan.columns
    kinds = {"number": DoubleType(), "text": StringType()}
    result = StructType([StructField(name, kinds[kind]) for name, kind in new.items()])

    def code(batches: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.DataFrame]:
        for given in batches:
            yield coded(step, names, given if isinstance(given, tuple) else (given,))

    return pandas_udf(code, returnType=result)


def coded(step: Step, names: Sequence[str], given: Sequence[pd.Series]) -> pd.DataFrame:
    """The new columns for some rows, in a worker: columns of ``names`` in, those of the plan out.

    Raises:
        ValueError: the UDF was called with another number of columns.
    """
    check_range("columns of the UDF", len(given), len(given) == len(names), f"{len(names)}: {', '.join(names)}")
    arrow = loaded(step)
    table = pa.table({name: pa.Array.from_pandas(series) for name, series in zip(names, given, strict=True)})
    return arrow(table).select(list(arrow.coder.plan.columns)).to_pandas()
