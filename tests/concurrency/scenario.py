"""What a run consists of: stock, buyers and trouble, drawn from its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.concurrency.faults import Rates


@dataclass(frozen=True)
class Shape:
    """The sizes of a kind of pool. Pairs are from-to."""

    uploads: int
    upload: tuple[int, int]
    bots: int
    bot: tuple[int, int]
    cancels: int = 4
    losses: int = 4
    reassigns: int = 4
    switches: int = 2


SHAPES = {
    "many tiny uploads": Shape(uploads=20, upload=(1, 6), bots=18, bot=(1, 8)),
    "few big uploads": Shape(uploads=3, upload=(250, 450), bots=8, bot=(1, 500)),
    "mixed": Shape(uploads=8, upload=(1, 60), bots=18, bot=(1, 25)),
    "starved": Shape(uploads=5, upload=(1, 20), bots=18, bot=(1, 20), cancels=6),
    "plenty": Shape(uploads=4, upload=(40, 70), bots=18, bot=(1, 10), losses=8),
    "cancelled midway": Shape(uploads=6, upload=(5, 40), bots=16, bot=(1, 30), cancels=12),
    "lossy": Shape(uploads=5, upload=(5, 30), bots=12, bot=(1, 12), losses=16, reassigns=8),
    "one big bot first": Shape(uploads=8, upload=(10, 60), bots=12, bot=(1, 4), reassigns=6),
}

PEOPLE = {"buyer": 8, "uploader": 3, "canceller": 2, "loser": 2, "reassigner": 2, "switcher": 1}
RESOLVERS = 8


@dataclass(frozen=True)
class Upload:
    """Session ids in the order of their lines. One that is `abandoned` is not sent again when its sender dies."""

    key: str
    ids: list[str]
    abandoned: bool


@dataclass(frozen=True)
class Purchase:
    """A bot that is bought: paid for, or made by an operator."""

    key: str
    required: int
    paid: bool


@dataclass
class Scenario:
    """One run, before it happens."""

    seed: int
    shape: str
    pool: str
    uploads: list[Upload]
    purchases: list[Purchase]
    cancels: int
    losses: int
    reassigns: int
    switches: int
    rates: Rates
    session_ids: list[str] = field(default_factory=list)


def scenario(seed: int) -> Scenario:
    """The same seed draws the same scenario; how the workers interleave is up to the machine."""
    chance = random.Random(seed)
    name = list(SHAPES)[seed % len(SHAPES)]
    shape = SHAPES[name]
    ids: list[str] = []
    uploads = []
    for number in range(shape.uploads):
        fresh = [f"s{seed}-{number}-{n}" for n in range(chance.randint(*shape.upload))]
        again = chance.sample(ids, min(len(ids), chance.choice([0, 0, 1, 3])))  # uploaded by another operator as well
        twice = chance.sample(fresh, min(len(fresh), chance.choice([0, 0, 1])))
        mixed = [*fresh, *again, *twice]
        chance.shuffle(mixed)
        ids += fresh
        uploads.append(Upload(f"up-{seed}-{number}", mixed, abandoned=chance.random() < 0.15))
    purchases = [
        Purchase(f"buy-{seed}-{n}", chance.randint(*shape.bot), chance.random() < 0.5) for n in range(shape.bots)
    ]
    if name == "one big bot first":
        purchases[0] = Purchase(purchases[0].key, 200, paid=True)
    return Scenario(
        seed=seed,
        shape=name,
        pool=f"run-{seed}",
        uploads=uploads,
        purchases=purchases,
        cancels=shape.cancels,
        losses=shape.losses,
        reassigns=shape.reassigns,
        switches=shape.switches,
        rates=Rates(
            kill=chance.choice([0.0, 0.01, 0.03, 0.06]),
            conflict=chance.choice([0.0, 0.02, 0.1]),
            throttle=chance.choice([0.0, 0.01, 0.03]),
            resend=chance.choice([0.0, 0.02, 0.05]),
            mixed=chance.choice([0.0, 0.3]),
        ),
        session_ids=ids,
    )
