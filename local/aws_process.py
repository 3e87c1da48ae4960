"""The embedded AWS's process: ministack, taught two things about PartiQL that it leaves out.

Its own PartiQL changes items behind the back of their table's stream, so that what follows from a stream would not
happen here; and it asks for a permission of the name of the call, where AWS asks for PartiQLUpdate on the table.
Runs in `.venv-aws`, which has nothing of this project: `python -m local.aws_process`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ministack import app
from ministack.core import iam_actions
from ministack.services import dynamodb


def _feed_streams() -> None:
    """Have every UPDATE show in its table's stream."""
    update = dynamodb._partiql_update  # noqa: SLF001  there is no other door

    def updated(table: Any, parsed: Any, data: Any = None) -> Any:
        pk, sk, _condition, error = dynamodb._partiql_key_target(table, parsed)  # noqa: SLF001
        before = None if error else table["items"].get(pk, {}).get(sk)
        answer = update(table, parsed, data)
        if before is not None and answer[0] == 200:
            dynamodb._emit_stream_event(parsed["table"], "MODIFY", before, table["items"][pk][sk])  # noqa: SLF001
        return answer

    dynamodb._partiql_update = updated  # noqa: SLF001


def _ask_for_permission() -> None:
    """A batch of updates needs PartiQLUpdate on the table of the first."""
    name, tables = iam_actions._action_from_target, iam_actions.dynamodb_resource_arns  # noqa: SLF001

    def named(headers: Any) -> Any:
        found = name(headers)
        return "PartiQLUpdate" if found == "BatchExecuteStatement" else found

    def addressed(body: bytes, region: str, account: str) -> Any:
        statements = json.loads(body or b"{}").get("Statements", [])
        found = [re.match(r'UPDATE "([^"]+)"', statement["Statement"]) for statement in statements]
        arns = [f"arn:aws:dynamodb:{region}:{account}:table/{match[1]}" for match in found if match]
        return arns or tables(body, region, account)

    iam_actions._action_from_target, iam_actions.dynamodb_resource_arns = named, addressed  # noqa: SLF001


if __name__ == "__main__":
    _feed_streams()
    _ask_for_permission()
    app.main()
