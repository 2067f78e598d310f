"""Extraction of ads and re-ranking of candidates, without torch: rules by default, a chat endpoint on request."""

from hjc.rerank.backends import Candidate, Reranker, RerankResult
from hjc.rerank.budget import EndpointError
from hjc.rerank.chat import ChatClient
from hjc.rerank.chat_questions import ChatExtractor, ChatReranker
from hjc.rerank.extraction import Extraction, RulesExtractor, extract
from hjc.rerank.rules import FEATURES, RulesReranker
from hjc.rerank.settings import ChatSettings, endpoint_of_user

__all__ = [
    "FEATURES",
    "Candidate",
    "ChatClient",
    "ChatExtractor",
    "ChatReranker",
    "ChatSettings",
    "EndpointError",
    "Extraction",
    "RerankResult",
    "Reranker",
    "RulesExtractor",
    "RulesReranker",
    "endpoint_of_user",
    "extract",
]
