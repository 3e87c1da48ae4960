"""Run in the generator's environment: make calls with the generated Python client, say what came back.

stdin: {"url", "token", "calls": [{"operation", "tag", "arguments", "body": {"model", "value"} or "file": text}]}
stdout: [{"operation", "status", "type", "same", "detail"}]; `same`: the typed object holds all that was sent.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import sys
from datetime import date
from typing import Any

import generated.models
from generated.client import AuthenticatedClient
from generated.types import File


def snake(name: str) -> str:
    """A module's name for an operation's id or a tag."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[ -]", "_", name).lower()


def _date_of(value: str) -> date | str:
    """Return a date, which generated methods want as an object; anything else as it is."""
    return date.fromisoformat(value) if re.fullmatch(r"\d{4}-\d\d-\d\d", value) else value


def call(client: AuthenticatedClient, wanted: dict[str, Any]) -> dict[str, Any]:
    """Make one call."""
    module = importlib.import_module(f"generated.api.{snake(wanted['tag'])}.{snake(wanted['operation'])}")
    arguments = {name: _date_of(value) for name, value in wanted["arguments"].items()}
    if body := wanted.get("body"):
        arguments["body"] = getattr(generated.models, body["model"]).from_dict(body["value"])
    if file := wanted.get("file"):
        arguments["body"] = File(payload=io.BytesIO(file.encode()), file_name="upload.csv")
    answer = module.sync_detailed(client=client, **arguments)
    parsed = answer.parsed
    text = isinstance(parsed, str)
    return {
        "operation": wanted["operation"],
        "status": int(answer.status_code),
        "type": type(parsed).__name__,
        "same": parsed == answer.content.decode() if text else parsed.to_dict() == json.loads(answer.content),
        "detail": getattr(parsed, "detail", None),
    }


def main() -> None:
    """Make the calls of stdin."""
    plan = json.load(sys.stdin)
    with AuthenticatedClient(plan["url"], plan["token"], raise_on_unexpected_status=True) as client:
        json.dump([call(client, wanted) for wanted in plan["calls"]], sys.stdout)


if __name__ == "__main__":
    main()
