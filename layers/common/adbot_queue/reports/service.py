"""Reports and links to them.

    s3://<bucket>/reports/<job>.csv, .html   private, for 30 days: as long as the job's row, which names them

A link carries the rights of its signer, and a function's own rights expire within hours; so links are made on request
and live for 15 minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.analytics import store as stores
from adbot_queue.analytics.store import AnalyticsStore
from adbot_queue.core import aws, telemetry
from adbot_queue.core.clock import Clock, iso, system_clock
from adbot_queue.core.errors import NotFound
from adbot_queue.core.settings import MissingSetting, settings
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.long_running import LongRunningJob, Progress, Slice
from adbot_queue.jobs.model import Job, JobState
from adbot_queue.reports import sources
from adbot_queue.reports.model import Table, write_csv, write_html

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LINK_S = 900

TYPE = "generate-report"

TYPES = {"csv": "text/csv; charset=utf-8", "html": "text/html; charset=utf-8"}


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
        telemetry.count("ReportsMade")
        shown = [self._link(context.job_id, form, size) for form, size in sorted(files.items())]
        ends = {"from": table.since, "to": table.until}
        return {"report": table.name, **ends, "rows": len(table.rows), "files": shown}

    def with_links(self, job: Job) -> Job:
        """Return the job of a report; its files, if it has made them, have fresh links.

        Raises:
            NotFound: it is another type's job, or its files are gone.
        """
        if job.type != TYPE or (job.expires_at is not None and job.expires_at * 1000 <= self._now()):
            raise NotFound("there is no such report; they are kept for 30 days")
        if job.state is not JobState.COMPLETED:
            return job
        files = [self._link(job.id, file["format"], file["size"]) for file in job.result["files"]]
        return job.changed(result=job.result | {"files": files})

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

    def _link(self, job_id: str, form: str, size: int) -> dict[str, Any]:
        """A file, and where it can be fetched for `LINK_S` seconds."""
        params = {"Bucket": self._bucket, "Key": _file(job_id, form)}
        url = self._s3.generate_presigned_url("get_object", Params=params, ExpiresIn=LINK_S)
        expires_at = iso(self._now() + LINK_S * 1000)
        return {"format": form, "key": params["Key"], "size": size, "url": url, "expires_at": expires_at}


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
