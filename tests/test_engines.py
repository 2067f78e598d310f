"""Ray Data and Spark, in local mode: the same codes as `hjc predict` gives in one process."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hjc
from hjc.apply.folder.code import code_files
from hjc.apply.step import Step
from tests.test_predict_folder import MODEL, WORDS, Call, write_csv, write_parquet

# Ray closes streams of the process that started it: of pytest's own, all tests after it would end in an error
BESIDE_RAY = """
import ray

from hjc.cli import main

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
main()
"""
TEXTS = [*WORDS, "night nurse", "", "pastry cook and baker", "truck driver"]


def test_an_engine_that_is_not_there(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_csv(tmp_path / "in" / "a.csv", TEXTS).parent
    command = ("predict", MODEL, source, "-o", tmp_path / "out", "-t", "text", "--engine")
    code, _, err = call(*command, "dask")
    assert code == 2 and "got 'dask', allowed are local, ray" in err
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = call(*command, "ray")
    assert code == 2 and "--engine ray needs `pip install 'hjc[ray]'`" in err and not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.setitem(sys.modules, "pyspark.sql.functions", None)
    with pytest.raises(ImportError, match=r"pip install 'hjc\[spark\]'"):
        hjc.spark.predict_udf(MODEL, text="text")


@pytest.mark.more
def test_ray_writes_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="Ray is not installed: make test-more has it")
    source = tmp_path / "in"
    write_csv(source / "year=2023" / "a.csv", TEXTS * 3)
    write_parquet(source / "year=2024" / "b.parquet", TEXTS, 100)
    (source / "year=2024" / "c.parquet").write_bytes(b"damaged")
    step = Step(run_dir=str(MODEL), text_columns=("text",), levels=(1, 2))
    code_files(step, str(source), str(tmp_path / "one"), part_rows=4)

    def predict(*more: object) -> tuple[int, str]:
        command = ("predict", MODEL, source, "-o", tmp_path / "two", "-t", "text", "-l", 1, "-l", 2, "--part-rows", 4)
        done = subprocess.run(
            [sys.executable, "-c", BESIDE_RAY, *map(str, (*command, "--engine", "ray", *more))],
            env=os.environ | {"RAY_worker_niceness": "0"},  # else its workers wait for all other tests
            capture_output=True,
            text=True,
            timeout=600,
        )
        return done.returncode, done.stderr

    code, err = predict("--workers", 2)
    assert code == 2 and "1 of 3 inputs could not be coded" in err and "c.parquet: " in err, err
    (source / "year=2024" / "c.parquet").unlink()
    code, err = predict()
    assert code == 0 and "2 of 2 inputs (2 were done before): 36 rows" in err, err
    name = "year=2023/a.csv"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    one, two = (pq.ParquetFile(tmp_path / out / "year=2024/b.parquet").read() for out in ("one", "two"))
    assert one.equals(two)


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql", reason="PySpark is not installed: make test-more has it")
    if shutil.which("java") is None:
        pytest.skip("no Java: apt-get install default-jre-headless")
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    os.environ["PYSPARK_PYTHON"] = sys.executable  # workers would take the python3 of the PATH
    session = (
        builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.mark.more
def test_spark_gives_the_same(spark: Any) -> None:
    from hjc.spark import predict_udf

    wanted = hjc.map_batches(MODEL, text="text", level=[1, 2], top_k=2)(
        pa.table({"id": list(range(len(TEXTS))), "text": TEXTS})
    ).to_pandas()
    frame = spark.createDataFrame(pd.DataFrame({"id": range(len(TEXTS)), "text": TEXTS})).repartition(2)
    code = predict_udf(MODEL, text="text", level=[1, 2], top_k=2)
    coded = frame.withColumn("coded", code("text")).select("*", "coded.*").drop("coded")
    found = coded.toPandas().sort_values("id", ignore_index=True)
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False)


def test_a_worker_of_spark_loads_a_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a UDF does with each batch of rows, in this process."""
    step, loads = Step(run_dir=str(MODEL), text_columns=("text",), levels=(1,)), list[int]()
    load = Step.load
    monkeypatch.setattr(Step, "load", lambda self: loads.append(1) or load(self))
    monkeypatch.setattr("hjc.spark._loaded", {})
    found = pd.concat([hjc.spark.coded(step, ["text"], [pd.Series(TEXTS[i : i + 3])]) for i in (0, 3, 6)])
    assert loads == [1]
    wanted = hjc.map_batches(MODEL, text="text", level=1)(pa.table({"text": TEXTS}))
    assert found["hjc_level1_code_1"].tolist() == wanted.to_pandas()["hjc_level1_code_1"].tolist()
    with pytest.raises(ValueError, match="columns of the UDF: got 2, allowed are 1: text"):
        hjc.spark.coded(step, ["text"], [pd.Series(TEXTS)] * 2)


@pytest.mark.more
def test_small_batches_and_more_columns_in_spark(spark: Any) -> None:
    from pyspark.sql.functions import col

    from hjc.spark import predict_udf

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 2)
    texts = [*TEXTS, None]
    frame = spark.createDataFrame([(text, "x") for text in texts], "title string, more string").coalesce(1)
    code = predict_udf(MODEL, text=["title", "more"], columns=["title", "more", "extra"], level=1)
    rows = frame.select(code(col("title"), col("more"), col("more")).alias("c")).select("c.*").collect()
    wanted = hjc.map_batches(MODEL, text=["title", "more"], level=1)(
        pa.table({"title": texts, "more": ["x"] * len(texts)})
    )
    assert [row["hjc_level1_code_1"] for row in rows] == wanted["hjc_level1_code_1"].to_pylist()
    assert [row["hjc_status"] for row in rows] == wanted["hjc_status"].to_pylist()
    with pytest.raises(Exception, match="columns of the UDF: got 1, allowed are 3: title, more, extra"):
        frame.select(code(col("title"))).collect()


@pytest.mark.more
def test_a_sweep_on_slurm_composes() -> None:
    """Hydra's submitit launcher is given the jobs of a sweep; what SLURM is told stands in hydra.launcher."""
    pytest.importorskip(
        "hydra_plugins.hydra_submitit_launcher", reason="submitit is not installed: make test-more has it"
    )
    import hydra
    from hydra.utils import get_class

    from hjc.training.config import CONFIG_NAME

    given = [
        "+sweep=heads",
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.partition=cpu",
        "hydra.launcher.cpus_per_task=8",
    ]
    with hydra.initialize_config_module("hjc.configs", version_base="1.3"):
        config = hydra.compose(CONFIG_NAME, overrides=given, return_hydra_config=True).hydra
    assert get_class(config.launcher._target_).__name__ == "SlurmLauncher"
    assert (config.launcher.partition, config.launcher.cpus_per_task) == ("cpu", 8)
    assert config.sweeper.params.hierarchy == "topdown,bottomup,pathsum"
