"""What a report looks like over HTTP."""

from __future__ import annotations

from pydantic import Field

from adbot_queue.core.clock import iso
from adbot_queue.core.schema import View
from adbot_queue.reports.service import Link, Report


class LinkView(View):
    """A file of a report. Whoever has the link has the file, until it expires."""

    format: str
    size: int
    url: str
    expires_at: str

    @classmethod
    def of(cls, link: Link) -> LinkView:
        """Of a link."""
        return cls(format=link.format, size=link.size, url=link.url, expires_at=iso(link.expires_at))


class ReportView(View):
    """A report and fresh links to its files."""

    id: str
    report: str
    since: str = Field(serialization_alias="from")
    until: str = Field(serialization_alias="to")
    made_at: str
    files: list[LinkView]

    @classmethod
    def of(cls, report: Report) -> ReportView:
        """Of a report."""
        return cls(
            id=report.id,
            report=report.name,
            since=report.since,
            until=report.until,
            made_at=iso(report.made_at),
            files=[LinkView.of(link) for link in report.links],
        )
