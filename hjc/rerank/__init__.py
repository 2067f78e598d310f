"""Extraction of ads and re-ranking of candidates, without torch: rules by default, a chat endpoint on request."""

from hjc.rerank.backends import Candidate, Query, Reranker, RerankResult, Status
from hjc.rerank.extraction import Extraction, Extractor, RulesExtractor, extract

__all__ = [
    "Candidate",
    "Extraction",
    "Extractor",
    "Query",
    "RerankResult",
    "Reranker",
    "RulesExtractor",
    "Status",
    "extract",
]
