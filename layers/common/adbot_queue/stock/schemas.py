"""HTTP models of uploads."""

from __future__ import annotations

from pydantic import ConfigDict

from adbot_queue.adbots.api.fields import PoolName, SessionId
from adbot_queue.core.schema import Input, View
from adbot_queue.stock.service import Uploaded


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
