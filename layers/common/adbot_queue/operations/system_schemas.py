"""HTTP models of health and the ledger."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from adbot_queue.core.schema import Period, Query, View


class Health(View):
    """Liveness: the process answers."""

    status: str = "ok"


class Readiness(View):
    """Readiness: are our dependencies reachable? A part is `ok` or the name of an error."""

    status: str
    parts: dict[str, str]


class ApiDocument(View):
    """The OpenAPI document of this API."""

    openapi: str
    info: dict[str, Any]
    tags: list[dict[str, Any]]
    paths: dict[str, Any]
    components: dict[str, Any]


class LedgerQuery(Query, Period):
    """Filters that combine. Without actor, action or target: one day (default: today)."""

    actor: str | None = Field(None, min_length=1, max_length=128)
    action: str | None = Field(None, max_length=64, pattern=r"^[a-z_]+(\.[a-z_]+)+$", description="like pool.create")
    target: str | None = Field(None, min_length=1, max_length=200)
    limit: int = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=2000)


class LedgerEntryView(View):
    """A change: who, what, on which target, when and why."""

    at: str
    actor: str
    role: str
    action: str
    target: str
    before: dict[str, Any]
    after: dict[str, Any]
    reason: str
    request_id: str


class LedgerPage(View):
    """Entries, newest first."""

    items: list[LedgerEntryView]
    next: str | None
