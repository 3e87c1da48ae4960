#!/usr/bin/env bash
# @hey-api/openapi-ts 0.95.0: its peer range (typescript >=5.5.3) admits TypeScript 7.0.2, which has no JavaScript API any more, so the
# generator ends at start with a TypeError. Expected: a range that excludes it, or a sentence. With 5.9.3 it works. Needs Node.js 20.
set -euo pipefail
cd "$(mktemp -d)"
echo '{"openapi": "3.1.0", "info": {"title": "One", "version": "1"}, "paths": {"/a": {"get": {"operationId": "getA", "responses": {"204": {"description": "ok"}}}}}}' > openapi.json
attempt() { # version of TypeScript
  mkdir "ts-$1" && (cd "ts-$1" && npm init -y > /dev/null && npm install --silent --no-audit --no-fund '@hey-api/openapi-ts@0.95.0' "typescript@$1" > /dev/null)
  code=0
  (cd "ts-$1" && npx openapi-ts -i ../openapi.json -o out) > "said-$1.txt" 2>&1 < /dev/null || code=$?
  echo "typescript $1: exit $code, $(grep -o 'TypeError.*' "said-$1.txt" | head -1)"
}
attempt 7.0.2; [ "$code" -ne 0 ]; grep -q "reading 'LineFeed'" said-7.0.2.txt
attempt 5.9.3; [ "$code" -eq 0 ]; test -f ts-5.9.3/out/sdk.gen.ts
