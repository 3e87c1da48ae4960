"""Makes reports and gives links to them.

    s3://<bucket>/reports/<job>.csv, .html   private, for 30 days
    REPORT#<job>  R                          in the Analytics table: which files there are; as long

A link carries the rights of whoever signed it, and a function's own end within hours; so links are made when they are
asked for and live for 15 minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from adbot_queue.adbots.store import AdbotStore
from adbot_queue.analytics import store as stores
from adbot_queue.analytics.store import AnalyticsStore
from adbot_queue.core import aws, dynamodb, telemetry
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.errors import NotFound
from adbot_queue.core.settings import MissingSetting, settings
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.long_running import LongRunningJob, Progress, Slice
from adbot_queue.reports import sources
from adbot_queue.reports.model import Table, write_csv, write_html

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LINK_S = 900
KEPT_S = 30 * 86_400

TYPES = {"csv": "text/csv; charset=utf-8", "html": "text/html; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Link:
    """A file of a report, and where it can be had until `expires_at` (ms)."""

    format: str
    key: str
    size: int
    url: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was made, with fresh links."""

    id: str
    name: str
    since: str
    until: str
    made_at: int
    links: list[Link]


class Reports:
    """The bucket, and what is known of what lies in it."""

    def __init__(self, store: AnalyticsStore, s3: S3Client, bucket: str, now: Clock = system_clock) -> None:
        self.store = store
        self._s3 = s3
        self._bucket = bucket
        self._now = now

    def make(self, table: Table, formats: Iterable[str], context: Context) -> dict[str, Any]:
        """Write a report's files; the same job writes the same ones.

        Returns:
            report, from, to, rows, files (format, key, size, url, expires_at); `GET /reports/{job}` has fresh links.
        """
        made_at = context.now()
        writers: dict[str, Callable[[IO[bytes]], None]] = {
            "csv": lambda file: write_csv(table, file),
            "html": lambda file: write_html(table, iso(made_at), file),
        }
        files = {one: self._put(context.job_id, table, one, writers[one]) for one in formats}
        item = {
            **_key(context.job_id),
            "name": table.name,
            "since": table.since,
            "until": table.until,
            "made_at": made_at,
            "files": files,
            "expires_at": made_at // 1000 + KEPT_S,
        }
        self.store.client.put_item(TableName=self.store.table, Item=dynamodb.encode(item))
        telemetry.count("ReportsMade")
        shown = [
            {"format": one.format, "key": one.key, "size": one.size, "url": one.url, "expires_at": iso(one.expires_at)}
            for one in self._links(context.job_id, files)
        ]
        ends = {"from": table.since, "to": table.until}
        return {"report": table.name, **ends, "rows": len(table.rows), "files": shown}

    def show(self, job_id: str) -> Report:
        """A report with fresh links.

        Raises:
            NotFound: no such job has made one, or it is gone.
        """
        item = dynamodb.get(self.store.client, self.store.table, _key(job_id))
        if item is None or item["expires_at"] * 1000 <= self._now():
            raise NotFound("there is no such report; they are kept for 30 days")
        links = self._links(job_id, item["files"])
        return Report(job_id, item["name"], item["since"], item["until"], item["made_at"], links)

    def _put(self, job_id: str, table: Table, form: str, write: Callable[[IO[bytes]], None]) -> int:
        """Write a file of a report by way of the disk; its size."""
        with TemporaryFile() as file:
            write(file)
            size = file.tell()
            file.seek(0)
            name = f"{table.name}-{table.since}-{table.until}.{form}"
            self._s3.put_object(
                Bucket=self._bucket,
                Key=_file(job_id, form),
                Body=file,
                ContentType=TYPES[form],
                ContentDisposition=f'attachment; filename="{name}"',
            )
        return size

    def _links(self, job_id: str, files: dict[str, int]) -> list[Link]:
        found = []
        for form, size in sorted(files.items()):
            key, now = _file(job_id, form), self._now()
            params = {"Bucket": self._bucket, "Key": key}
            url = self._s3.generate_presigned_url("get_object", Params=params, ExpiresIn=LINK_S)
            found.append(Link(form, key, size, url, now + LINK_S * 1000))
        return found


class GenerateReport(LongRunningJob):
    """One job's report: its figures slice by slice, then its files."""

    def __init__(
        self, reports: Reports, name: str, days: tuple[str, str], formats: list[str], context: Context
    ) -> None:
        self._reports = reports
        self._name = name
        self._days = days
        self._formats = formats
        self._context = context

    def next_slice(self, progress: Progress) -> Slice:
        """Count the next pages of orders; what was counted by day before is read at once."""
        if self._name != "orders":
            return Slice(None, is_last=True)
        return sources.next_orders(AdbotStore(aws.dynamodb(), settings().adbots_table), progress, *self._days)

    def result(self, progress: Progress) -> dict[str, Any]:
        """Write the files; as `Reports.make`."""
        match self._name:
            case "orders":
                table = sources.orders(progress, *self._days)
            case "queues":
                table = sources.queues(self._reports.store, *self._days)
            case _:
                table = sources.analytics(self._reports.store, *self._days)
        return self._reports.make(table, self._formats, self._context)


def _key(job_id: str) -> dict[str, str]:
    return {"pk": f"REPORT#{job_id}", "sk": "R"}


def _file(job_id: str, form: str) -> str:
    return f"reports/{job_id}.{form}"


@lru_cache(maxsize=1)
def from_env() -> Reports:
    """The reports of this process.

    Raises:
        MissingSetting: this function has nothing to do with reports.
    """
    bucket = os.environ.get("REPORTS_BUCKET")
    if not bucket:
        raise MissingSetting("environment variables are not set: REPORTS_BUCKET")
    return Reports(stores.from_env(), aws.s3(), bucket)
