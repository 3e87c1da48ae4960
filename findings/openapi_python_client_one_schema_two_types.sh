#!/usr/bin/env bash
# openapi-python-client 0.29.1: where a body is declared as JSON and as a form with one schema, the generated call never sends JSON:
# the content is the form's, its label the type that is declared last, so `id=a` may go out as application/json. No warning, exit
# code 0. Expected: a choice, or one of the two, labelled as what it is. Servers that trust the label refuse such a body.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'openapi-python-client==0.29.1' 'httpx==0.28.1'
cat > describe.py <<'PY'
import json, sys
types = sys.argv[1:]
schema = {"type": "object", "properties": {"id": {"type": "string"}}}
body = {"content": {one: {"schema": {"$ref": "#/components/schemas/Row"}} for one in types}}
route = {"post": {"operationId": "sendRow", "requestBody": body, "responses": {"204": {"description": "ok"}}}}
print(json.dumps({"openapi": "3.1.0", "info": {"title": "One", "version": "1"}, "paths": {"/rows": route}, "components": {"schemas": {"Row": schema}}}))
PY
cat > send.py <<'PY'
import httpx
from client import Client
from client.api.default import send_row
from client.models import Row

def answer(request):
    print(request.headers["content-type"], request.content.decode())
    return httpx.Response(204)

known = Client(base_url="http://127.0.0.1")
known.set_httpx_client(httpx.Client(base_url="http://127.0.0.1", transport=httpx.MockTransport(answer)))
send_row.sync_detailed(client=known, body=Row(id="a"))
PY
sent() { # media types, in their order
  rm -rf client
  venv/bin/python describe.py "$@" > openapi.json
  PATH="$PWD/venv/bin:$PATH" venv/bin/openapi-python-client generate --path openapi.json --output-path client --meta none > said.txt 2>&1
  if grep -qi warning said.txt; then echo "warned, "; fi
  venv/bin/python send.py
}
json=application/json form=application/x-www-form-urlencoded
alone=$(sent $json) json_first=$(sent $json $form) form_first=$(sent $form $json)
echo "openapi-python-client $(venv/bin/pip --disable-pip-version-check list --format=freeze | sed -n 's/^openapi-python-client==//p')"
row='{"id":"a"}'
echo "JSON alone: expected $json $row, seen $alone"
echo "JSON, then form: expected $json $row or $form id=a, seen $json_first"
echo "form, then JSON: expected $json $row or $form id=a, seen $form_first"
[ "$alone" = "$json $row" ]
[ "$json_first" = "$form id=a" ]
[ "$form_first" = "$json id=a" ]
