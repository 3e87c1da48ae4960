"""An upload whose request died, finished by the sweeper and a worker with the rights of the template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from adbot_queue.adbots.storage import items
from adbot_queue.core.attribute_values import encode
from adbot_queue.stock.publication import STAGED
from local.stack import Stack
from tests.e2e.conftest import Api, deployed

pytestmark = pytest.mark.e2e


def test_an_abandoned_upload_is_published_by_a_job(
    stack: Stack, api: Api, aws: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    upload_id, table = "up_abandoned", stack["outputs"]["AdBotsTable"]
    description = {"pool": "standard", "count": 1, "content": "-", "kind": STAGED, "listed_at": "2026-01-01#up"}
    rows = [{**items.upload_key(upload_id), **description}, {**items.page_key(upload_id, 0), "ids": ["abandoned"]}]
    for row in rows:
        aws("dynamodb").put_item(TableName=table, Item=encode(row))
    answer = aws("lambda").invoke(FunctionName=deployed(aws, "Sweep"), Payload=b"{}")
    assert "FunctionError" not in answer, answer["Payload"].read()

    def published() -> Any:
        found = api("viewer", "GET", f"/admin/stock/uploads/{upload_id}").json()
        return found if found["published_at"] else None

    found = eventually(published)
    assert found["progress"]["outcomes"] == {"not_stored": 1}
    listed = api("viewer", "GET", "/admin/stock/uploads").json()["items"]
    assert upload_id in [one["upload_id"] for one in listed]
