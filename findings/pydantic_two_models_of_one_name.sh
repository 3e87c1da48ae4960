#!/usr/bin/env bash
# pydantic 2.14.4: models_json_schema names two models of one name by module paths (a__Mode, b__Mode), silently: the second module
# renames the first one's schema, and with it the class in every generated client. Expected: a warning or an error.
set -euo pipefail
cd "$(mktemp -d)"
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'pydantic==2.14.4'
for module in a b; do printf 'from pydantic import BaseModel\nclass Mode(BaseModel):\n    %s: int\n' "$module" > "$module.py"; done
venv/bin/python -W error - <<'PY'
import a, b
from pydantic.json_schema import models_json_schema

def names(*models):
    return sorted(models_json_schema([(model, "validation") for model in models])[1]["$defs"])

found = names(a.Mode), names(a.Mode, b.Mode)
print(*found)
assert found == (["Mode"], ["a__Mode", "b__Mode"]), found
PY
