"""What the API document promises to people and to generators of clients, as rules over the document itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

IMPERATIVE = re.compile(
    r"(Assign|Cancel|Change|Check|Clean|Count|Create|Delete|Discard|Enqueue|Export|Get|Import|List|Mark|Pause|Prepare|"
    r"Probe|Rebuild|Receive|Release|Remove|Replace|Replay|Request|Resume|Retry|Run|Send|Set|Start|Stop|Subscribe|Take|"
    r"Unsubscribe|Upload|"
    r"Verify) "
)
"""What a summary begins with. Another verb is added here."""

GENERATED_BODIES = {
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
}
"""Request bodies that openapi-python-client 0.29.1 makes methods of; what else a body may be is its description's."""

MAX_SUMMARY = 80
"""Characters."""

PROBLEM = {"$ref": "#/components/schemas/Problem"}
EVERYWHERE = frozenset({"400", "429", "500", "503"})
WITH_TOKEN = frozenset({"401", "403", "422"})

BARE_IDS = frozenset({"id", "job", "user", "tenant", "adbot", "order"})
"""Names that do not say that they are ids, or of what."""

NAMES_OF_PARTS = frozenset({"WorkflowStep"})
"""Schemas whose `id` is chosen by the caller and means something within its document only."""

Document = dict[str, Any]
Operation = dict[str, Any]


def violations(document: Document) -> list[str]:
    """Return what breaks a rule, a line each."""
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    found = [*_tags(document, operations), *_ids(operations), *_schemas(document)]
    for key, operation in operations.items():
        found += [f"{key}: {problem}" for problem in _operation(key, operation)]
    return found


def _tags(document: Document, operations: dict[str, Operation]) -> Iterator[str]:
    declared = [tag["name"] for tag in document["tags"]]
    used = {tag for operation in operations.values() for tag in operation["tags"]}
    for key, operation in operations.items():
        if len(operation["tags"]) != 1 or operation["tags"][0] not in declared:
            yield f"{key}: needs one of the tags {', '.join(declared)}"
    yield from (f"tag {name}: no operation has it" for name in declared if name not in used)


def _ids(operations: dict[str, Operation]) -> Iterator[str]:
    counts = Counter(operation["operationId"] for operation in operations.values())
    for key, operation in operations.items():
        name = operation["operationId"]
        if counts[name] > 1:
            yield f"{key}: another operation is named {name} too; an operation is named by its handler"
        if not re.fullmatch(r"[a-z]+([A-Z][a-z0-9]*){1,4}", name):
            yield f"{key}: {name} is not two to five words, verb first; an operation is named by its handler"


def _schemas(document: Document) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    titles = Counter(schema.get("title") for schema in schemas.values())
    used = {schema.rsplit("/", 1)[-1] for schema in _references(document)}
    for name, schema in schemas.items():
        if not re.fullmatch(r"([A-Z][a-z0-9]*)+", name):
            yield f"schema {name}: is not a plain name"
        if schema.get("title") != name or titles[name] > 1:
            yield f"schema {name}: has the title {schema.get('title')}"
        if name.endswith("List"):
            yield f"schema {name}: an answer with items is named ...Page"
        if name not in used:
            yield f"schema {name}: nothing refers to it"
        for field in sorted(BARE_IDS & schema.get("properties", {}).keys() if name not in NAMES_OF_PARTS else ()):
            yield f"schema {name}: {field} is not named by the thing: <thing>_id"
    yield from (f"schema {name}: is missing" for name in sorted(used - schemas.keys()))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _bodies(operation: Operation) -> Iterator[str]:
    bodies = operation.get("requestBody", {}).get("content", {})
    if foreign := sorted(bodies.keys() - GENERATED_BODIES):
        yield f"requestBody: generators of clients leave operations with {', '.join(foreign)} out"
    if len(bodies) > 1 and bodies.get("application/json", {}).get("schema", {}).get("type") == "array":
        yield "requestBody: Python clients of openapi-python-client fail at a JSON array among other bodies"


def _operation(key: str, operation: Operation) -> Iterator[str]:
    summary = operation["summary"]
    if not IMPERATIVE.match(summary):
        yield f"summary: {summary.split()[0]} is no verb of openapi_rules.IMPERATIVE"
    if len(summary) > MAX_SUMMARY or summary.endswith("."):
        yield f"summary: must have at most {MAX_SUMMARY} characters and no full stop"
    if not operation["description"]:
        yield "description: the handler has no docstring"
    yield from _bodies(operation)
    answers = operation["responses"]
    expected = set(EVERYWHERE)
    if operation["security"]:
        expected |= WITH_TOKEN
    if "{" in key:
        expected |= {"404"}
    if not key.startswith("GET "):
        expected |= {"413"}
    if missing := sorted(expected - answers.keys()):
        yield f"responses: {', '.join(missing)} can come, too"
    for status, answer in answers.items():
        yield from (f"{status}: {problem}" for problem in _answer(status, answer.get("content", {})))


def _answer(status: str, content: dict[str, Any]) -> Iterator[str]:
    """Good answers are typed; problems are problem documents, of one schema, API Gateway's own among them."""
    shown = {media: body["schema"] for media, body in content.items()}
    if status == "204":
        if shown:
            yield "has no body"
    elif status < "400":
        if len(shown) != 1:
            yield "needs one media type"
        for media, schema in shown.items():
            if schema != {"type": "string"} if media.startswith("text/") else "$ref" not in schema:
                yield f"{media} needs a named schema"
    elif "application/problem+json" in shown:
        if any(schema != PROBLEM for schema in shown.values()):
            yield "must be a Problem"
    elif PROBLEM not in shown.get("application/json", {}).get("anyOf", ()):
        yield "must be application/problem+json"
