"""Workers on a pool at the same time. Each may die at any AWS call; then it is started again."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from adbot_queue.adbots.audit.reconcile import Reconciler
from adbot_queue.adbots.commands import Command
from adbot_queue.adbots.model import CreationSource, ExecutionMode, Order, OrderStatus
from adbot_queue.adbots.operator_order import AdbotSpec
from adbot_queue.adbots.service import AdbotService
from adbot_queue.adbots.storage.store import AdbotStore
from adbot_queue.core.clock import Clock, system_clock
from adbot_queue.core.dynamodb import TransactionConflict, TransactionRejected
from adbot_queue.core.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from adbot_queue.ledger import Actor, Ledger
from adbot_queue.stock.service import Stock
from adbot_queue.stock.upload import LineVerdict, parse_objects
from tests.concurrency.faults import Killed
from tests.concurrency.promises import Promises
from tests.concurrency.scenario import Purchase, Scenario, Upload

STRIPE = Actor("stripe", "provider")
STUCK_SECONDS = 40.0
"""A command that did not come through by then counts as stuck, however often its worker died."""

Result = TypeVar("Result")


class SomeTriggers:
    """An allocation.fifo that wakes the resolvers, and sometimes loses a message."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._work = threading.Condition()

    def send(self, _pool: str, _cause: str) -> bool:
        if self._chance.random() < 0.2:
            return False
        with self._work:
            self._work.notify(3)
        return True

    def wait(self, seconds: float) -> None:
        with self._work:
            self._work.wait(seconds)


@dataclass
class Shared:
    """What all workers of a run know."""

    plan: Scenario
    tables: dict[str, str]
    triggers: SomeTriggers
    promises: Promises = field(default_factory=Promises)
    over: threading.Event = field(default_factory=threading.Event)
    failures: list[str] = field(default_factory=list)

    def service(self, client: Any, now: Clock) -> AdbotService:
        """The service as a function that just started has it."""
        ledger = Ledger(client, self.tables["LedgerTable"], now)
        return AdbotService(AdbotStore(client, self.tables["AdBotsTable"]), ledger, self.triggers, now)  # type: ignore[arg-type]


class Worker(threading.Thread):
    """One of them, with a client, a clock and a chance of its own."""

    def __init__(self, shared: Shared, client: Any, name: str, work: Callable[[Worker], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.shared = shared
        self.plan = shared.plan
        self.promises = shared.promises
        self.client = client
        self.chance = random.Random(f"{shared.plan.seed} {name}")
        self.skew = self.chance.randint(-5_000, 5_000)
        self.actor = Actor(name, "admin")
        self._work = work

    def now(self) -> int:
        """This worker's clock, wrong by up to 5 s."""
        return system_clock() + self.skew

    def run(self) -> None:
        """Do the work; whatever is not foreseen fails the run."""
        try:
            self._work(self)
        except BaseException:  # noqa: BLE001  reported at the end
            self.shared.failures.append(f"{self.name}: {traceback.format_exc()}")

    def carry_out(self, command: Callable[[AdbotService], Result]) -> Result:
        """Until it is answered. A worker that dies starts anew and sends the same again, under the same key."""
        deadline = time.monotonic() + STUCK_SECONDS
        while time.monotonic() < deadline:
            try:
                return command(self.shared.service(self.client, self.now))
            except Killed:
                pass
            except (TransactionConflict, Unavailable):
                time.sleep(self.chance.random() * 0.02)
            except ClientError as error:
                if "injected" not in str(error):
                    raise
                time.sleep(self.chance.random() * 0.01)
        raise TimeoutError(f"{self.name} did not get its command through in {STUCK_SECONDS} s")

    def command(self, reason: str) -> Command:
        """A command under a key of its own."""
        return Command(self.actor, reason, key=reason, fingerprint=reason)

    def some_bot(self) -> str | None:
        """Return a paid bot as soon as there are any; None when the run ends first."""
        for _ in range(400):
            if bots := self.promises.bots():
                return self.chance.choice(bots)
            time.sleep(0.005)
        return None

    def pause(self) -> None:
        """A moment, so that troubles come all along the run."""
        time.sleep(self.chance.random() * 0.04)


def resolve(worker: Worker) -> None:
    """As the allocator does: on a message, or by the schedule."""

    def time_left() -> int:
        return worker.chance.choice([60_000, 60_000, 60_000, 5_000])  # the last is too little for another step

    while not worker.shared.over.is_set():
        worker.carry_out(lambda service: service.resolver.run(worker.plan.pool, time_left))
        worker.shared.triggers.wait(0.3)


def buyer(purchases: list[Purchase]) -> Callable[[Worker], None]:
    """Buys these, one after the other."""

    def work(worker: Worker) -> None:
        for purchase in purchases:
            adbot_id = worker.carry_out(lambda service, one=purchase: _buy(worker, service, one))  # type: ignore[misc]
            with worker.promises.lock:
                worker.promises.bought[adbot_id] = purchase.required

    return work


def _buy(worker: Worker, service: AdbotService, purchase: Purchase) -> str:
    if not purchase.paid:
        wanted = AdbotSpec("cara", purchase.required, worker.plan.pool)
        return service.create(wanted, worker.command(purchase.key), lambda: 60_000).adbot.id
    order = Order(
        id=f"ord-{purchase.key}",
        status=OrderStatus.PAID,
        source=CreationSource.PAYMENT,
        created_at=worker.now(),
        user_id="cara",
        adbot_id=f"bot-{purchase.key}",
        pool=worker.plan.pool,
        required_sessions=purchase.required,
    )
    try:
        return service.purchases.create_paid(order, ExecutionMode.ASYNC_QUEUE, STRIPE).id
    except TransactionRejected as refused:
        if "order" not in refused.failed:
            raise
        return f"bot-{purchase.key}"


def uploader(uploads: list[Upload]) -> Callable[[Worker], None]:
    """Uploads these, one after the other."""

    def work(worker: Worker) -> None:
        for upload in uploads:
            send = _sender(worker, upload)
            if upload.abandoned:
                try:
                    send(worker.shared.service(worker.client, worker.now))
                except (Killed, TransactionConflict, Unavailable, ClientError):
                    continue  # not repeated: the sweeper must finish it
            else:
                worker.carry_out(send)

    return work


def _sender(worker: Worker, upload: Upload) -> Callable[[AdbotService], None]:
    def send(service: AdbotService) -> None:
        lines = parse_objects([{"session_id": name} for name in upload.ids])
        done = Stock(service).upload(worker.plan.pool, lines, worker.command(upload.key))
        taken = {line.session.id for line in done.lines if line.session and line.verdict is LineVerdict.ACCEPTED}
        with worker.promises.lock:
            worker.promises.accepted[done.upload_id] = taken

    return send


def canceller(number: int) -> Callable[[Worker], None]:
    """Cancel that many bots."""

    def work(worker: Worker) -> None:
        for n in range(number):
            worker.pause()
            if adbot_id := worker.some_bot():
                command = worker.command(f"{worker.name} {n}")
                worker.carry_out(lambda service, one=adbot_id, how=command: service.cancel(one, how))  # type: ignore[misc]
                worker.promises.cancelled.add(adbot_id)

    return work


def loser(number: int) -> Callable[[Worker], None]:
    """Lose that many sessions, free ones and assigned ones."""

    def work(worker: Worker) -> None:
        for n in range(number):
            worker.pause()
            session = worker.chance.choice(worker.plan.session_ids)
            command = worker.command(f"{worker.name} {n}")
            try:
                worker.carry_out(lambda service, one=session, how=command: service.lose_session(one, how))  # type: ignore[misc]
            except (NotFound, Conflict):
                continue  # not uploaded yet
            worker.promises.lost.add(session)

    return work


def reassigner(number: int) -> Callable[[Worker], None]:
    """Move that many handfuls of sessions."""

    def work(worker: Worker) -> None:
        for n in range(number):
            worker.pause()
            if adbot_id := worker.some_bot():
                _settle(worker, f"{worker.name} {n}", _reassign(worker, adbot_id))

    return work


def _reassign(worker: Worker, adbot_id: str) -> Callable[[AdbotService, Command], object]:
    chosen: list[list[str]] = []

    def do(service: AdbotService, command: Command) -> object:
        if not chosen:  # once: a command that is repeated is the same command
            held = service.sessions.session_ids(service.adbot(adbot_id, None).runs)
            remove = worker.chance.sample(held, min(len(held), worker.chance.randint(0, 3)))
            chosen[:] = [worker.chance.sample(worker.plan.session_ids, 1), remove]
            if worker.chance.random() < 0.4:
                chosen[0] = []
        return service.reassign(adbot_id, *chosen, command)

    return do


def switcher(number: int) -> Callable[[Worker], None]:
    """Start and stop that many bots, put them on hold and release them."""

    def work(worker: Worker) -> None:
        for n in range(number):
            worker.pause()
            adbot_id = worker.some_bot()
            if not adbot_id:
                return
            _settle(worker, f"{worker.name} start {n}", lambda s, how, one=adbot_id: s.start(one, how, None))  # type: ignore[misc]
            held = worker.chance.random() < 0.5
            worker.carry_out(lambda s, one=adbot_id, on=held: s.hold(one, Command(worker.actor), held=on))  # type: ignore[misc]
            _settle(worker, f"{worker.name} stop {n}", lambda s, how, one=adbot_id: s.stop(one, how, None))  # type: ignore[misc]

    return work


def _settle(worker: Worker, reason: str, do: Callable[[AdbotService, Command], object]) -> None:
    """Carry out a command that may be refused, and remember how it ended."""
    command = worker.command(reason)
    try:
        worker.carry_out(lambda service: do(service, command))
    except (NotFound, Conflict, Forbidden, Invalid):
        worker.promises.refused.add(reason)
    else:
        worker.promises.done.add(reason)


def reconcile(worker: Worker) -> None:
    """Compares the pool with its history while all that goes on: what it reports is never a change under way."""
    while not worker.shared.over.is_set():
        service = worker.shared.service(worker.client, worker.now)
        report = Reconciler(service.store, service.ledger, lambda _: time.sleep(0.02)).pool(worker.plan.pool)
        if report.findings:
            worker.shared.failures.append(f"reported as drift while the pool was at work: {report.findings}")
        worker.shared.over.wait(1)
