"""Asks a chat model to write ads of an occupation."""

from collections.abc import Mapping, Sequence
from typing import Any

from hjc.rerank.budget import ChatError
from hjc.rerank.chat import ChatClient, ChatRequest, Rejected, schema_of
from hjc.rerank.prompts import Prompt, as_data, load_prompt
from hjc.taxonomy import Taxonomy

GAPS = frozenset(("occupation", "number", "language"))
_AD = schema_of(title={"type": "string"}, text={"type": "string"})


class AdWriter:
    """Writes ads of codes; see :mod:`hjc.corpus.synthetic` for what is refused of them."""

    def __init__(self, client: ChatClient, prompt: str | Prompt = "synthesise") -> None:
        self.client = client
        self.prompt = prompt if isinstance(prompt, Prompt) else load_prompt(prompt, GAPS)

    def request(self, taxonomy: Taxonomy, node: int, number: int, language: str) -> ChatRequest:
        """The question about one code: its title, the titles above it, its description where there is one."""
        path = [int(v) for v in taxonomy.node_path[node, : taxonomy.level[node]]]
        texts = [f"occupation: {taxonomy.title(node, language) or taxonomy.codes[node]}"]
        texts += [f"within: {title}" for v in path[:-1] if (title := taxonomy.title(v, language))]
        described = taxonomy.descriptions.get(language) or next(iter(taxonomy.descriptions.values()), ())
        texts += [f"description: {text}" for text in described[node : node + 1] if text]
        values = {
            "occupation": as_data("\n".join(texts), 3000),
            "number": str(number),
            "language": as_data(language, 40),
        }
        schema = schema_of(ads={"type": "array", "items": _AD})

        def check(value: Mapping[str, Any]) -> None:
            if len(value["ads"]) > number:
                raise Rejected(f"{len(value['ads'])} ads, asked for were {number}")

        return ChatRequest(self.prompt.fill(values), schema, "ads", check)

    def write(
        self, taxonomy: Taxonomy, nodes: Sequence[int], number: int, language: str
    ) -> tuple[list[tuple[str, list[dict[str, Any]]]], list[str]]:
        """(code, ads) of every code that was answered, and what went wrong with the others.

        Raises:
            EndpointError: the endpoint does not work. Answers so far are in the cache.
        """
        answers = self.client.complete_many([self.request(taxonomy, node, number, language) for node in nodes])
        found, failed = [], []
        for node, answer in zip(nodes, answers, strict=True):
            if isinstance(answer, ChatError):
                failed.append(f"{taxonomy.codes[node]}: {answer}")
            else:
                found.append((taxonomy.codes[node], list(answer.value["ads"])))
        return found, failed
