"""What the models of the HTTP interface have in common.

Pydantic builds a model's validator when the class is made, unless it is deferred until first used. A function uses a
few of the models that its capability declares: what is deferred is mostly never built.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    """What is answered; can be read off any object with such attributes."""

    model_config = ConfigDict(defer_build=True, from_attributes=True)


class Input(BaseModel):
    """A JSON body. Unknown fields are refused, texts are not taken for numbers."""

    model_config = ConfigDict(defer_build=True, extra="forbid", strict=True)


class Query(BaseModel):
    """Query parameters, which are all texts. Unknown ones are refused."""

    model_config = ConfigDict(defer_build=True, extra="forbid")
