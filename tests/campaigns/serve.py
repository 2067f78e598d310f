"""Requests that a careless or hostile client may send: answered or refused, never an error of the service."""

import json
import random
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.campaigns.harness import Tally
from tests.campaigns.models import json_mutated
from tests.campaigns.tables import CODES, ODD, WORDS, bytes_mutated
from tests.serve_client import batch_of, client, sign_in

NAMES = ["small", "ann", "1", "0", "-1", "../../etc/passwd", "x" * 3000, "", "\0", "9" * 30]


def value(schema: dict[str, Any], parts: dict[str, Any], draw: random.Random, deep: int = 0) -> Any:
    """A value that a JSON schema of the service's own description allows, or nearly."""
    if "$ref" in schema:
        schema = parts[schema["$ref"].rsplit("/", 1)[-1]]
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return value(draw.choice(options), parts, draw, deep)
    if "enum" in schema or "const" in schema:
        return draw.choice(schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "object":
            wanted = {k: v for k, v in schema.get("properties", {}).items()
                      if k in schema.get("required", ()) or draw.random() < 0.3}  # fmt: skip
            made = {key: value(inner, parts, draw, deep + 1) for key, inner in wanted.items()}
            if isinstance(more := schema.get("additionalProperties"), dict) and deep < 6:
                made |= {draw.choice(["title", "text", "odd"]): value(more, parts, draw, deep + 1)}
            return made
        case "array":
            return [value(schema.get("items", {}), parts, draw, deep + 1) for _ in range(draw.choice([0, 1, 1, 2, 5]))]
        case "integer":
            return draw.choice([schema.get("minimum", 1), 1, 1, 2, 3, draw.randint(0, 99), 2**63])
        case "number":
            return draw.choice([0.5, 0.9, 0.1, 1, 0, -1])
        case "boolean":
            return draw.random() < 0.5
        case "null":
            return None
    return draw.choice([*WORDS[:8], *CODES, *NAMES, draw.choice(ODD) + " nurse"])


def run(count: int, seed: int) -> Tally:
    """``count`` requests to the routes that the service describes: good ones, altered ones, bytes that are no JSON."""
    tally = Tally("serve", seed)
    with client(Path(tempfile.mkdtemp(prefix="hjc-serve-")) / "desk.db") as service:
        description = service.get("/openapi.json").json()
        parts = description.get("components", {}).get("schemas", {})
        routes = [(path, verb, found) for path, verbs in description["paths"].items() for verb, found in verbs.items()]
        sign_in(service, "ann")
        batch_of(service, ["nurse on a ward", "kierowca autobusu", "baker"])
        for number in range(count):
            draw = tally.random(number)
            path, verb, found = draw.choice(routes)
            query = {}
            for one in found.get("parameters", []):
                given = value(one.get("schema", {}), parts, draw)
                given = draw.choice([given, given, *NAMES])
                if one["in"] == "path":
                    path = path.replace(f"{{{one['name']}}}", quote(str(given), safe="") or "x")
                elif one["in"] == "query" and draw.random() < 0.7:
                    query[one["name"]] = given
            content, kind = b"", "application/json"
            if body := found.get("requestBody"):
                kind, inner = draw.choice(list(body["content"].items()))
                made = value(inner.get("schema", {}), parts, draw)
                for _ in range(draw.choice([0, 0, 1, 1, 2])):
                    made = json_mutated(made, draw)
                content = json.dumps(made).encode()
                content = bytes_mutated(content, draw) if draw.random() < 0.2 else content
            try:
                reply = service.request(
                    verb.upper(), path, params=query, content=content, headers={"content-type": kind}
                )
            except Exception as error:
                tally.fault(number, f"{verb} {path[:80]}: {type(error).__name__}: {str(error)[:200]}")
                continue
            tally.add(f"answers {reply.status_code}")
            if reply.status_code >= 500 and reply.status_code != 503:
                tally.fault(
                    number, f"{verb} {path[:80]} {query} {content[:300]!r}: {reply.status_code} {reply.text[:200]}"
                )
        if service.get("/healthz").status_code != 200:
            tally.fault("end", "the service is not healthy any more")
    return tally
