"""`finish-upload`: publishes an upload whose request died, with every session that was stored.

The slices settle what is open; the last one publishes. A request that is still at work finds its open lines settled,
and uploads them by itself.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from pydantic import Field

from adbot_queue.adbots import service
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.service import AdbotService
from adbot_queue.core.clock import Clock
from adbot_queue.core.dynamodb import Transaction
from adbot_queue.core.schema import Input
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.job_queues import exponential
from adbot_queue.jobs.job_types import DAY_S, MINUTE_S, JobType
from adbot_queue.jobs.long_running import LongRunningJob, Progress, Slice, run
from adbot_queue.ledger import SYSTEM
from adbot_queue.stock import uploads
from adbot_queue.stock.claims import Claims, Upload
from adbot_queue.stock.publication import Publication
from adbot_queue.stock.uploads import Uploads

CLAIMS_PER_SLICE = 90
"""Records of settled lines in a slice's transaction, which has room for 99."""

COMMAND = Command(SYSTEM, reason="the upload did not finish by itself")


class FinishUpload(Input):
    """The upload."""

    upload_id: str = Field(min_length=1, max_length=128)


class Finish(LongRunningJob):
    """The work of one job. It needs no cursor: the records of settled lines say what is open."""

    def __init__(self, upload_id: str, stored: Uploads, adbots: AdbotService, now: Clock) -> None:
        self._upload_id = upload_id
        self._stored = stored
        self._pools = adbots.pools
        self._publication = Publication(adbots, now)

    def next_slice(self, progress: Progress) -> Slice:
        """Settle open lines; when there are none, publish."""
        stored = self._stored.get(self._upload_id)
        upload, claims, outcomes = stored.upload, stored.claims, stored.progress.outcomes
        is_published = stored.published_at is not None
        if numbers := [] if is_published else claims.open[:CLAIMS_PER_SLICE]:
            lines = claims.lines_of(numbers)
            close = partial(_close, claims, numbers)
            return Slice(None, done=lines, outcomes={"not_stored": lines}, effects=close, of=upload.count)

        def publish(transaction: Transaction) -> None:
            self._publication.add(transaction, upload, claims, COMMAND)

        return Slice(
            None,
            done=upload.count - progress.done,
            outcomes=Counter(outcomes) - Counter(progress.outcomes),
            # Its request may have published it meanwhile.
            effects=None if is_published else publish,
            afterwards=partial(self._allocate, upload),
            of=upload.count,
            is_last=True,
        )

    def _allocate(self, upload: Upload) -> None:
        """Ask for a run of the allocation; if the message is lost, the schedule runs it."""
        self._pools.trigger_allocation([upload.pool], upload.id)


def _close(claims: Claims, numbers: list[int], transaction: Transaction) -> None:
    claims.close(transaction, numbers)


def finish_upload(payload: FinishUpload, context: Context) -> dict[str, Any]:
    """Finish an upload.

    Returns:
        How many of its lines were accepted, were duplicates, and were not stored by their request.

    Raises:
        NotFound: it does not exist. NextRun: there is more to do. Cancelled: on request.
    """
    return run(Finish(payload.upload_id, uploads.from_env(), service.from_env(), context.now), context)


JOB = JobType(
    queue="maintenance",
    payload=FinishUpload,
    handler=finish_upload,
    horizon_s=DAY_S,
    cap_s=15 * MINUTE_S,
    policy=exponential(10, 2),
    parallel=False,
    internal=True,
    long_running=True,
)
