"""What leads refer to: clients and projects. Users are references too, with their settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReferenceKind(StrEnum):
    """What a lead may refer to."""

    USER = "user"
    CLIENT = "client"
    PROJECT = "project"


@dataclass(frozen=True, slots=True)
class Client:
    """A company that leads are won for."""

    id: str
    name: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class Project:
    """What is offered to leads."""

    id: str
    name: str
    client_id: str | None = None
    version: int = 1
