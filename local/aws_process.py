"""The embedded AWS's process: ministack with what it lacks for this project.

Its own PartiQL changes items without a record in their table's stream, and asks for a permission named after the call,
where AWS asks for PartiQLUpdate on the table. Its workers (a process per running function) stay for ever, and a stop
waits for what they run: here idle ones end, SIGHUP replaces all, and SIGTERM ends all before the state is saved.
HTTP APIs: `local.aws_http_api`. Runs in `.venv-aws`, which has nothing of this project: `python -m local.aws_process`.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import hypercorn.asyncio
from ministack import app
from ministack.core import iam_actions, lambda_runtime
from ministack.services import dynamodb

from local import aws_http_api

IDLE_SECONDS = 90
"""A worker unused for this long ends; what EventBridge starts each minute stays warm."""
FINISH_SECONDS = 1.0
"""A stop gives running invocations this long; then they end as if their machine had died."""


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


class _Workers:
    """Ends ministack's workers: the idle ones, all when the code has changed, all at a stop."""

    def __init__(self) -> None:
        self._stale = threading.Event()
        self._retired: list[Any] = []
        self._closed = False
        spawn = lambda_runtime.Worker._spawn  # noqa: SLF001  there is no other door

        def spawn_while_open(worker: Any) -> None:
            if self._closed:
                raise RuntimeError("the embedded AWS is stopping")
            spawn(worker)

        lambda_runtime.Worker._spawn = spawn_while_open  # noqa: SLF001
        signal.signal(signal.SIGHUP, lambda *_: self._stale.set())
        threading.Thread(target=self._tend, name="workers", daemon=True).start()

    def close(self) -> None:
        """End all workers and start none any more."""
        self._closed = True
        deadline = time.monotonic() + FINISH_SECONDS
        while lambda_runtime.workers_in_use() and time.monotonic() < deadline:
            time.sleep(0.05)
        lambda_runtime.kill_workers([*self._retired, *self._take(lambda _: True)])

    def _tend(self) -> None:
        while not self._closed:
            if self._stale.wait(1):
                self._stale.clear()
                self._retired += self._take(lambda _: True)
            oldest = time.time() - IDLE_SECONDS
            self._retired += self._take(lambda worker: not worker.in_use and worker.last_used < oldest)  # noqa: B023
            # One that is running something ends when that has ended.
            lambda_runtime.kill_workers([worker for worker in self._retired if not worker.in_use])
            self._retired = [worker for worker in self._retired if worker.in_use]

    @staticmethod
    def _take(wanted: Callable[[Any], bool]) -> list[Any]:
        """Take workers out of their pools, so that no invocation gets them any more."""
        with lambda_runtime._lock:  # noqa: SLF001
            pools = lambda_runtime._workers  # noqa: SLF001
            taken = [worker for pool in pools.values() for worker in pool if wanted(worker)]
            for key, pool in list(pools.items()):
                pools[key] = [worker for worker in pool if worker not in taken]
        return taken


def _end_workers_first(workers: _Workers) -> None:
    """Have SIGTERM end the workers before open connections and the state: requests wait for workers."""
    serve = hypercorn.asyncio.serve

    async def serve_until_sigterm(application: Any, config: Any) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

        async def stopped() -> None:
            await stop.wait()
            await asyncio.to_thread(workers.close)

        config.graceful_timeout = 0.5
        await serve(application, config, shutdown_trigger=stopped)

    hypercorn.asyncio.serve = serve_until_sigterm


if __name__ == "__main__":
    aws_http_api.install()
    _feed_streams()
    _ask_for_permission()
    _end_workers_first(_Workers())
    app.main()
