#!/usr/bin/env bash
# stripe 16.1.0: a 400 whose error code is rate_limit is raised as RateLimitError, as a 429 is; a 400 with any other code is
# InvalidRequestError. Expected: the class follows the status. Who treats every 400 as "the request is wrong" buries jobs
# that only came too fast.
set -euo pipefail
cd "$(mktemp -d)"
export HOME=$PWD
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'stripe==16.1.0'
venv/bin/python - <<'PY'
import http.server, json, threading
import stripe
stripe.enable_telemetry = False
answers = [(400, "rate_limit"), (400, "parameter_missing"), (429, "lock_timeout")]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, code = answers[int(self.path.rsplit("_", 1)[1])]
        body = json.dumps({"error": {"type": "invalid_request_error", "code": code, "message": code}}).encode()
        self.send_response(status); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = stripe.StripeClient("sk_test_x", base_addresses={"api": f"http://127.0.0.1:{server.server_port}"})
found = []
for number in range(len(answers)):
    try:
        client.v1.charges.retrieve(f"ch_{number}")
    except stripe.StripeError as error:
        found.append((error.http_status, error.code, type(error).__name__))
for line in found:
    print(*line)
assert [name for _, _, name in found] == ["RateLimitError", "InvalidRequestError", "RateLimitError"], found
PY
