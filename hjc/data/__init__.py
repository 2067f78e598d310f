"""JobData, column mapping, splits, text hygiene and the bundled sample."""

from typing import TYPE_CHECKING

from hjc.plugins.lazy import lazy

if TYPE_CHECKING:
    from hjc.data.jobdata import JobData
    from hjc.data.loading import load_job_data
    from hjc.data.reading import read_job_data
    from hjc.data.recipe import TextRecipe
    from hjc.data.sample import load_sample, sample_ads, sample_titles
    from hjc.data.settings import DataSettings, SourceSettings
    from hjc.data.splits import Splits
    from hjc.data.summary import DataSummary, summarise
    from hjc.tables import read_rows, read_table

__all__ = [
    "DataSettings",
    "DataSummary",
    "JobData",
    "SourceSettings",
    "Splits",
    "TextRecipe",
    "load_job_data",
    "load_sample",
    "read_job_data",
    "read_rows",
    "read_table",
    "sample_ads",
    "sample_titles",
    "summarise",
]

__getattr__ = lazy(
    __name__,
    {
        "hjc.data.jobdata": ("JobData",),
        "hjc.data.loading": ("load_job_data",),
        "hjc.data.reading": ("read_job_data",),
        "hjc.data.recipe": ("TextRecipe",),
        "hjc.data.sample": ("load_sample", "sample_ads", "sample_titles"),
        "hjc.data.settings": ("DataSettings", "SourceSettings"),
        "hjc.data.splits": ("Splits",),
        "hjc.data.summary": ("DataSummary", "summarise"),
        "hjc.tables": ("read_rows", "read_table"),
    },
)
