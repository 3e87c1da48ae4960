"""What the page `/docs` shows: the API document, flattened into what a person reads. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 4
"""Fields inside fields; deeper ones are named by their type alone."""


def reference(document: dict[str, Any]) -> dict[str, Any]:
    """Return the chapters of an API document, their operations, and every field with its type and limits."""
    schemas = document["components"]["schemas"]
    chapters: dict[str, dict[str, Any]] = {
        tag["name"]: {"name": tag["name"], "slug": slug(tag["name"]), "text": tag["description"], "operations": []}
        for tag in document["tags"]
    }
    for path, methods in sorted(document["paths"].items()):
        for method, operation in methods.items():
            chapters[operation["tags"][0]]["operations"].append(_operation(method.upper(), path, operation, schemas))
    return {"chapters": [chapter for chapter in chapters.values() if chapter["operations"]]}


def slug(name: str) -> str:
    """`Dead letters` -> `dead-letters`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    answers, problems = [], []
    for status, answer in operation["responses"].items():
        content = answer.get("content", {})
        if "Problem" in str(content.get("application/problem+json", {}).get("schema", {})):
            problems.append({"status": status, "names": re.findall(r"`([^`]+)`", answer["description"])})
        else:
            answers.append({"status": status, "text": answer["description"], "bodies": _bodies(content, schemas)})
    return {
        "id": operation["operationId"],
        "method": method,
        "path": path,
        "summary": operation["summary"],
        "text": _sentences(operation["description"]),
        "roles": operation.get("x-roles", []),
        "scope": operation.get("x-scope", ""),
        "parameters": [
            {
                "name": one["name"],
                "place": one["in"],
                "type": _type(one["schema"], schemas),
                "required": one["required"],
                "text": _sentences(one["schema"].get("description", "")),
            }
            for one in operation["parameters"]
        ],
        "bodies": _bodies(operation.get("requestBody", {}).get("content", {}), schemas),
        "answers": answers,
        "problems": problems,
    }


def _bodies(content: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a body by its media type; one of several types (`oneOf`) once, and the payload of each of them."""
    found: list[dict[str, Any]] = []
    for media, declared in content.items():
        schema = _resolve(declared["schema"], schemas)
        options = [_resolve(option, schemas) for option in schema.get("oneOf", ())]
        fields = list(_fields(options[0] if options else schema, schemas))
        found.append(
            {
                "media": media,
                "type": _type(schema, schemas) if not options else "object",
                "fields": [field for field in fields if not (options and field[0].startswith("payload."))],
                "choices": [
                    {
                        "name": name,
                        "fields": [field for field in _fields(option, schemas) if field[0].startswith("payload.")],
                    }
                    for option in options
                    for name in option["properties"]["type"]["enum"]
                ],
            }
        )
        if options:
            every = " or ".join(f'"{choice["name"]}"' for choice in found[-1]["choices"])
            for field in found[-1]["fields"]:
                field[1] = every if field[0] == "type" else field[1]
    return found


def _fields(schema: dict[str, Any], schemas: dict[str, Any], prefix: str = "", depth: int = 0) -> Iterator[list[Any]]:
    """Yield name, type, whether it is required, and what it means."""
    if depth >= MAX_DEPTH:
        return
    for name, declared in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        yield [prefix + name, _type(declared, schemas), required, _sentences(declared.get("description", ""))]
        inner, suffix = _inside(declared, schemas)
        yield from _fields(inner, schemas, f"{prefix}{name}{suffix}.", depth + 1)


def _inside(schema: dict[str, Any], schemas: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the object that a field holds, also in a list (`[]`) or as one of two (the other being null)."""
    schema = _resolve(schema, schemas)
    if options := [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]:
        return _inside(options[0], schemas) if len(options) == 1 else ({}, "")
    if schema.get("type") == "array":
        inner, suffix = _inside(schema.get("items", {}), schemas)
        return inner, f"[]{suffix}"
    return schema, ""


def _resolve(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _sentences(text: str) -> str:
    return " ".join(text.split())


def _type(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """`{"type": "integer", "minimum": 1, "maximum": 500}` -> `integer, 1 to 500`."""
    schema = _resolve(schema, schemas)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(option, schemas) for option in options))
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    kind = schema.get("type", "any value")
    if kind == "array":
        limits = _range(schema.get("minItems"), schema.get("maxItems"))
        return f"list of {_type(schema.get('items', {}), schemas)}" + (f", {limits} entries" if limits else "")
    if kind == "string":
        limits = _range(schema.get("minLength"), schema.get("maxLength"))
        said = {"date-time": "time", "date": "date", "uri": "address"}.get(schema.get("format", ""), "text")
        return said + (f", {limits} characters" if limits else "")
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    limits = _range(low, high)
    return str(kind) + (f", {limits}" if limits else "")


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f"at least {low}"
    return f"{low} to {high}" if low is not None else f"at most {high}"
