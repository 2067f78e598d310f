"""From ads as scraped to texts for training: cleaning, quality gate, language, duplicates; ``hjc data prepare``.

Needs ``pip install 'hjc[prepare]'`` (ftfy, lingua, datasketch); each step says so when its package is missing.
"""

from hjc.corpus.prepare.cleaning import Cleaned, CleaningSettings, clean
from hjc.corpus.prepare.duplicates import DuplicateFinder, DuplicateGroups, find_groups, label_conflicts
from hjc.corpus.prepare.language import PAPER_LANGUAGES, LanguageIdentifier
from hjc.corpus.prepare.phrases import Phrases, load_phrases
from hjc.corpus.prepare.pipeline import PrepareReport, PrepareSettings, prepare_table
from hjc.corpus.prepare.quality import RULES, Rule, Verdict, judge

__all__ = [
    "PAPER_LANGUAGES",
    "RULES",
    "Cleaned",
    "CleaningSettings",
    "DuplicateFinder",
    "DuplicateGroups",
    "LanguageIdentifier",
    "Phrases",
    "PrepareReport",
    "PrepareSettings",
    "Rule",
    "Verdict",
    "clean",
    "find_groups",
    "judge",
    "label_conflicts",
    "load_phrases",
    "prepare_table",
]
