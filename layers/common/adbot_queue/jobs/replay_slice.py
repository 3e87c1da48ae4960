"""A governed replay, executed slice by slice by the job `replay-dead-letters`.

Every letter's decision, its ledger entry and the replay's progress are one transaction, on the condition that the
replay runs and that nobody else has gone on with it meanwhile. So a kill anywhere repeats nothing, two executions at
once replace each other without doing anything twice, and after a cancel not one more letter is touched.

A replay goes through the letters that died before it began, oldest first. A job that dies again is younger than that;
beyond it `last_replay` names the replay, should clocks disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from adbot_queue import ledger as ledgers
from adbot_queue import owner
from adbot_queue.core import aws
from adbot_queue.core.dynamodb import Contended, Transaction
from adbot_queue.core.errors import Conflict
from adbot_queue.core.ids import time_ordered_id
from adbot_queue.core.settings import settings
from adbot_queue.core.telemetry import count, logger
from adbot_queue.jobs import dead_letters, dispatch
from adbot_queue.jobs.context import Context
from adbot_queue.jobs.dead_letters import DeadLetters
from adbot_queue.jobs.dispatch import Dispatcher
from adbot_queue.jobs.letter_store import IndexEntry
from adbot_queue.jobs.letters import died_at
from adbot_queue.jobs.model import Job
from adbot_queue.jobs.replay_model import Replay, ReplayState
from adbot_queue.jobs.replay_store import ReplayStore
from adbot_queue.jobs.retry import Permanent, Postponed
from adbot_queue.jobs.store import JobStore
from adbot_queue.jobs.tellers import told
from adbot_queue.ledger import Entry as Signed
from adbot_queue.ledger import Ledger

READ_AT_ONCE = 100
ROWS_AT_ONCE = 10

PAUSE_S = 1.0
"""Between two slices at the least."""

RESERVE_S = 10
"""Time left of an attempt at which a slice ends."""

RACES = 5

_BROKEN = (ClientError, BotoCoreError, Contended)


class Replaced(Exception):
    """The replay was cancelled, or another execution goes on with it."""


class Slice:
    """One execution. What it has not written down yet is in `_replay` alone."""

    def __init__(
        self,
        replay: Replay,
        context: Context,
        store: ReplayStore,
        letters: DeadLetters,
        jobs: JobStore,
        ledger: Ledger,
        dispatcher: Dispatcher,
    ) -> None:
        self._replay = replay
        self._context = context
        self._store = store
        self._letters = letters
        self._jobs = jobs
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._unsent: list[Job] = []
        self._moved = False

    def run(self) -> None:
        """Replay as many letters as the rate allows now.

        Raises:
            Postponed: there is more to do later.
            Replaced: it is no longer ours.
            ClientError, BotoCoreError, Contended: before anything was done.
        """
        try:
            for entry, row in self._candidates():
                self._one(entry, row)
            self._send()
            self._complete()
        except Replaced:
            self._send()
            raise
        except _BROKEN as error:
            self._send()
            if not self._moved:
                raise
            raise Postponed(f"{type(error).__name__}; goes on where it stands", PAUSE_S) from error

    def _candidates(self) -> Iterator[tuple[IndexEntry, Job]]:
        """The letters from the cursor on; passes over those that are not to be replayed (any more)."""
        following = self._replay.cursor
        while True:
            entries, following = self._letters.store.entries(
                self._replay.letters, READ_AT_ONCE, following, forward=True
            )
            for start in range(0, len(entries), ROWS_AT_ONCE):
                chunk = entries[start : start + ROWS_AT_ONCE]
                rows = self._letters.store.rows(chunk)
                for entry in chunk:
                    row = rows.get(entry.job_id)
                    if row is not None and self._is_wanted(row):
                        yield entry, row
                    else:
                        self._pass_over(entry, row)
            if following is None:
                return
            self._replay = replace(self._replay, cursor=following)
            self._pause_unless(self._context.seconds_left() > RESERVE_S, 0)

    def _one(self, entry: IndexEntry, row: Job) -> None:
        """Replay one letter, unless somebody else decides about it at this moment."""
        current: Job | None = row
        for _ in range(RACES):
            if current is None or not self._is_wanted(current):
                self._pass_over(entry, current)
                return
            if why := self._refusal(current):
                logger.warning("dead letter not replayed", job_id=current.id, replay=self._replay.id, why=why)
                progress = self._replay.progress.plus(failed=1)
                self._replay = replace(self._replay, cursor=entry.position, progress=progress)
                return
            wait = self._replay.wait_ms(self._context.now())
            self._pause_unless(not wait and self._context.seconds_left() > RESERVE_S, wait / 1000)
            if self._replays(entry, current):
                return
            self._must_be_ours()
            current = self._letters.store.rows([entry]).get(entry.job_id)
        raise Contended(f"replay of {entry.job_id}")

    def _refusal(self, job: Job) -> str | None:
        """Return why a job stays dead: the owner alone may move its money, or another job has taken its key."""
        if self._replay.started_by.role != "owner" and (why := owner.needs_owner(job.type, job.payload)):
            return why
        try:
            self._letters.check_key(job)
        except Conflict as conflict:
            return str(conflict)
        return None

    def _replays(self, entry: IndexEntry, row: Job) -> bool:
        """Decide in one transaction with the progress; False when something of it has changed meanwhile."""
        now, replay = self._context.now(), self._replay
        after = replace(
            replay,
            cursor=entry.position,
            progress=replay.progress.plus(replayed=1),
            paced_at=replay.next_at(now),
        )
        again, with_it = told(row.again(now).changed(last_replay=replay.id), now)
        job = self._jobs.change(row, again, lambda transaction: self._sign(transaction, row, after), with_it)
        if job is None:
            return False
        self._replay, self._moved = after, True
        self._unsent.append(job)
        if len(self._unsent) >= ROWS_AT_ONCE:
            self._send()
        return True

    def _sign(self, transaction: Transaction, job: Job, after: Replay) -> None:
        entry = Signed(
            after.started_by,
            "dead-letter.replay",
            f"job:{job.id}",
            {"state": job.state.value},
            {"state": "waiting", "replay": after.id},
            after.reason,
        )
        self._ledger.sign(transaction, entry)
        self._store.advance(transaction, after)

    def _is_wanted(self, row: Job) -> bool:
        replay = self._replay
        return row.is_dead_letter and row.last_replay != replay.id and died_at(row) < replay.started_at

    def _pass_over(self, entry: IndexEntry, row: Job | None) -> None:
        """What this replay has done itself is counted already; what died again meanwhile is none of its letters."""
        ours = row is not None and row.last_replay == self._replay.id
        younger = row is not None and row.is_dead_letter
        progress = self._replay.progress.plus(skipped=int(not ours and not younger))
        self._replay = replace(self._replay, cursor=entry.position, progress=progress)

    def _must_be_ours(self) -> None:
        stands = self._store.get(self._replay.id)
        if stands is None or stands.state is not ReplayState.RUNNING or stands.holder != self._replay.holder:
            raise Replaced

    def _pause_unless(self, goes_on: bool, seconds: float) -> None:  # noqa: FBT001  reads like a sentence
        if goes_on:
            return
        self._send()
        if not self._store.save(self._replay):
            raise Replaced
        raise Postponed("goes on at its rate", max(seconds, PAUSE_S))

    def _complete(self) -> None:
        if not self._store.complete(self._replay, self._context.now()):
            raise Replaced
        count("ReplaysCompleted")

    def _send(self) -> None:
        """Those that SQS does not take, or whose sender dies right now, are sent for by the sweeper."""
        unsent, self._unsent = self._unsent, []
        self._dispatcher.send(unsent)


def go_on(replay_id: str, context: Context) -> dict[str, Any]:
    """Execute a slice of a replay; what `replay-dead-letters` does. Answers how it stands, when there is no more to do.

    Raises:
        Postponed: there is more to do later.
        Permanent: there is no such replay.
    """
    env, client = settings(), aws.dynamodb()
    store, jobs = ReplayStore(client, env.jobs_table), JobStore(client, env.jobs_table)
    taken = store.take(replay_id, time_ordered_id(context.now()))
    if taken:
        letters = dead_letters.from_env(context.now)
        try:
            Slice(taken, context, store, letters, jobs, ledgers.from_env(), dispatch.from_env()).run()
        except Replaced:
            taken = None
    stands = store.get(replay_id)
    if stands is None:
        raise Permanent("there is no such replay")
    if stands.state is ReplayState.RUNNING:
        # Whoever replaced this execution may be one that has lost its lease and will not come back.
        raise Postponed("another execution goes on with it", PAUSE_S)
    told = stands.progress
    return {"state": stands.state.value, "replayed": told.replayed, "skipped": told.skipped, "failed": told.failed}
