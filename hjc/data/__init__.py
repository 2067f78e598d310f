"""JobData, column mapping, splits, text hygiene and the bundled sample."""

from hjc.data.jobdata import JobData
from hjc.data.sample import load_sample, sample_ads, sample_titles
from hjc.data.settings import DataSettings, SourceSettings
from hjc.data.splits import Splits

__all__ = ["DataSettings", "JobData", "SourceSettings", "Splits", "load_sample", "sample_ads", "sample_titles"]
