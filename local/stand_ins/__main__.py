"""`python -m local.stand_ins --port 8099`: the stand-ins on loopback until they are stopped."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from werkzeug.serving import run_simple

from local.settings import HOST, ROOT
from local.stand_ins import mailbox, sendgrid_events, twilio
from local.stand_ins.app import StandIns, running_stack


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description="Stand-ins for providers, on loopback, in memory.")
    parser.add_argument("--port", type=int, default=8099)
    port = parser.parse_args().port
    stack = Path(os.environ.get("ADBOT_STATE", ROOT / ".local")) / "stack.json"
    mail_events, inbound_url = sendgrid_events.of_running_stack(stack), twilio.of_running_stack(stack)
    accounts = mailbox.of_running_stack(stack)
    stand_ins = StandIns(f"http://{HOST}:{port}", *running_stack(stack), mail_events, inbound_url, accounts)
    run_simple(HOST, port, stand_ins, threaded=True)


if __name__ == "__main__":
    main()
