"""`python -m local.token [ROLE] [CLIENT]` prints a bearer token of the running local stack, and nothing else.

CLIENT, a machine, goes before ROLE.
"""

from __future__ import annotations

import sys

from botocore.exceptions import EndpointConnectionError

from local import stack
from local.settings import Refused, Settings


def main() -> int:
    """Print the token; 1 and a reason on stderr when there is none."""
    try:
        running = stack.read(stack.path(Settings.from_environment()))
        role, client = [*sys.argv[1:], "", ""][:2]
        print(stack.client_token(running, client) if client else stack.token(running, role or "owner"))
    except EndpointConnectionError as error:
        print(f"The local stack is not running: `make run` first. ({error})", file=sys.stderr)
        return 1
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
