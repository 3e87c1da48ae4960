"""Fields that several models share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

SessionId = Annotated[str, Field(min_length=1, max_length=64)]
PoolName = Annotated[str, Field(min_length=1, max_length=32)]
Reason = Annotated[str, Field(max_length=500)]
