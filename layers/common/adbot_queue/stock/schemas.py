"""HTTP models of uploads."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from adbot_queue.adbots.api.fields import PoolName, SessionId
from adbot_queue.core.schema import Input, Moment, Query, View
from adbot_queue.jobs.api.progress import ProgressView
from adbot_queue.stock.publication import PUBLISHED, STAGED
from adbot_queue.stock.service import Uploaded
from adbot_queue.stock.uploads import StoredUpload


class UploadSession(Input):
    """One session. All fields except `session_id` and `pool` are its secret."""

    model_config = ConfigDict(extra="allow")

    session_id: SessionId
    pool: PoolName | None = None


class LineView(View):
    """Verdict on one line of an upload; `pool` is the pool of the session, `state` the state of a duplicate."""

    line: int
    session_id: str | None
    status: str
    detail: str | None
    state: str | None = None
    pool: str | None = None


class UploadView(View):
    """Result of an upload: counts, and a verdict per line."""

    upload_id: str
    pool: str
    accepted: int
    duplicates: int
    invalid: int
    lines: list[LineView]

    @classmethod
    def of(cls, pool: str, uploaded: Uploaded) -> UploadView:
        """Return the view of an upload."""
        lines = [
            LineView(
                line=line.number,
                session_id=line.session.id if line.session else None,
                status=line.verdict,
                detail=line.detail or None,
                state=line.state,
                pool=line.pool,
            )
            for line in uploaded.lines
        ]
        number = {status: sum(line.status == status for line in lines) for status in {line.status for line in lines}}
        return cls(
            upload_id=uploaded.upload_id,
            pool=pool,
            accepted=number.get("accepted", 0),
            duplicates=number.get("duplicate", 0) + number.get("duplicate_in_upload", 0),
            invalid=number.get("invalid", 0),
            lines=lines,
        )


class StoredUploadView(View):
    """How far an upload is. Its sessions are in the stock once it is published."""

    upload_id: str
    pool: str
    published_at: Moment | None = Field(description="null while it is staged")
    progress: ProgressView

    @classmethod
    def of(cls, stored: StoredUpload) -> StoredUploadView:
        """Return the view of an upload."""
        progress = ProgressView(**stored.progress.shown())
        return cls(
            upload_id=stored.upload.id, pool=stored.upload.pool, published_at=stored.published_at, progress=progress
        )


class UploadPage(View):
    """Uploads, newest first."""

    items: list[StoredUploadView]
    next: str | None

    @classmethod
    def of(cls, found: list[StoredUpload], following: str | None) -> UploadPage:
        """Return the view of a page."""
        return cls(items=[StoredUploadView.of(stored) for stored in found], next=following)


class UploadQuery(Query):
    """Which page of which uploads."""

    state: Literal["staged", "published"] = Field("published", description="staged: not published yet")
    limit: int = Field(20, ge=1, le=50)
    cursor: str | None = Field(None, max_length=2000)

    @property
    def kind(self) -> str:
        """The kind in the index."""
        return STAGED if self.state == "staged" else PUBLISHED
