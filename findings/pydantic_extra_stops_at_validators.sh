#!/usr/bin/env bash
# pydantic 2.13.4: model_validate(..., extra="ignore") overrides the extra="forbid" of the model and of the models nested in
# it, but not of a model that a validator of the outer one validates itself. Expected: one call, one rule. Rows that a newer
# version wrote are refused at that one place.
set -euo pipefail
cd "$(mktemp -d)"
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'pydantic==2.13.4'
venv/bin/python - <<'PY'
from typing import Any
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str

class Nested(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner

class Chosen(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: dict[str, Any]
    @model_validator(mode="after")
    def _fits(self):
        Inner.model_validate(self.inner)
        return self

row = {"inner": {"name": "a", "newer": 1}, "newer": 1}
found = {}
for model in (Nested, Chosen):
    try:
        model.model_validate(row, extra="ignore")
        found[model.__name__] = "taken"
    except ValidationError as error:
        found[model.__name__] = error.errors()[0]["type"]
print(found)
assert found == {"Nested": "taken", "Chosen": "extra_forbidden"}, found
PY
