#!/usr/bin/env bash
# openapi-python-client 0.29.1: an operation whose only request body is text/csv (or application/x-ndjson) is left out of the
# generated client with a warning, and the exit code is 0. Expected: the call, with the body as bytes, or a failure.
set -euo pipefail
cd "$(mktemp -d)"
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'openapi-python-client==0.29.1'
cat > openapi.json <<'JSON'
{"openapi": "3.1.0", "info": {"title": "Two", "version": "1"}, "paths": {
  "/csv": {"post": {"operationId": "sendCsv", "requestBody": {"content": {"text/csv": {"schema": {"type": "string"}}}}, "responses": {"204": {"description": "ok"}}}},
  "/bytes": {"post": {"operationId": "sendBytes", "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}, "responses": {"204": {"description": "ok"}}}}}}
JSON
code=0
PATH="$PWD/venv/bin:$PATH" venv/bin/openapi-python-client generate --path openapi.json --output-path client --meta none > said.txt 2>&1 || code=$?
cat said.txt
echo "exit $code: $(find client/api -name 'send_*.py' | sort | xargs -n1 basename | xargs)"
[ "$code" -eq 0 ]
[ "$(find client/api -name 'send_*.py' -exec basename {} \;)" = send_bytes.py ]
