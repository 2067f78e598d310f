"""Extraction of ads and re-ranking of candidates, without torch: rules by default, a chat endpoint on request."""

from hjc.corpus.cache import AnswerCache
from hjc.rerank.backends import Candidate, Query, Reranker, RerankResult, Status
from hjc.rerank.budget import BudgetReached, ChatError, EndpointError, Usage
from hjc.rerank.chat import Answer, ChatClient, ChatRequest, Rejected
from hjc.rerank.chat_extractor import ChatExtractor
from hjc.rerank.chat_reranker import ChatReranker
from hjc.rerank.extraction import Extraction, Extractor, RulesExtractor, extract
from hjc.rerank.prompts import Prompt, as_data, load_prompt
from hjc.rerank.rules import FEATURES, RulesReranker
from hjc.rerank.settings import ChatSettings, endpoint_of_user
from hjc.rerank.vocabulary import INDUSTRIES, SENIORITIES

__all__ = [
    "FEATURES",
    "INDUSTRIES",
    "SENIORITIES",
    "Answer",
    "AnswerCache",
    "BudgetReached",
    "Candidate",
    "ChatClient",
    "ChatError",
    "ChatExtractor",
    "ChatRequest",
    "ChatReranker",
    "ChatSettings",
    "EndpointError",
    "Extraction",
    "Extractor",
    "Prompt",
    "Query",
    "Rejected",
    "RerankResult",
    "Reranker",
    "RulesExtractor",
    "RulesReranker",
    "Status",
    "Usage",
    "as_data",
    "endpoint_of_user",
    "extract",
    "load_prompt",
]
