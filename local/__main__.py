"""`python -m local`: the whole system on this machine until Ctrl-C."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from local import seed, stack, state, watch
from local.demo import main as demo
from local.deploy import deploy
from local.embedded import child, embedded_aws, wait_until_listening
from local.gateway import gateway
from local.settings import REGION, Refused, Settings
from local.stand_ins.sendgrid_events import new_key

Server = subprocess.Popen[bytes]


class _Stopped(Exception):
    """The operator wants no more."""


def main() -> int:
    """Run the stack; 0 after a stop that was asked for, 1 with a reason on stderr otherwise."""
    stop = threading.Event()
    stopping = 0.0

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        # The first ends whatever is going on; while things are stopping, more of them change nothing.
        nonlocal stopping
        if not stop.is_set():
            stop.set()
            stopping = time.monotonic()
            raise _Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        with ExitStack() as resources:
            settings = Settings.from_environment()
            _serve(_start(settings, resources), watched=not settings.built)
    except _Stopped:
        print(f"Stopped in {time.monotonic() - stopping:.1f} s; the state is kept.", flush=True)
        return 0
    except Refused as error:
        stop.set()
        print(error, file=sys.stderr)
        return 1


_KEYS = {
    "Stripe": "STRIPE_API_KEY",
    "SendGrid": "SENDGRID_API_KEY",
    "Segment": "SEGMENT_WRITE_KEY",
    "Twilio": "TWILIO_AUTH_TOKEN",
}
"""Providers without a key in the environment have a stand-in."""


def _start(settings: Settings, resources: ExitStack) -> dict[str, Server]:
    began = time.monotonic()
    settings.check_ports()
    state.claim(settings.state)
    (settings.state / "log").mkdir(exist_ok=True)
    print("Starting the embedded AWS and the providers' stand-ins ...", flush=True)
    stand_ins = resources.enter_context(_stand_ins(settings))
    servers = {"The stand-ins": stand_ins, "The embedded AWS": resources.enter_context(embedded_aws(settings))}
    outputs, deployed = deploy(
        settings,
        {
            "DeletionProtection": "false",
            "WorkerScale": "few",  # the embedded AWS is one process on this machine's cores
            "AdminEmail": os.environ.get("ADMIN_EMAIL", "admin@example.com"),
            "MailFrom": os.environ.get("MAIL_FROM", "adbot-queue@example.com"),
            **{
                f"{provider}ApiBase": "" if os.environ.get(key) else f"{settings.providers_url}/{provider.lower()}"
                for provider, key in _KEYS.items()
            },
            "BedrockApiBase": f"{settings.providers_url}/bedrock",
            "BedrockPrice": "60/240",
            "AlarmChatUrl": os.environ.get("ALARM_CHAT_URL", ""),
            "PluginFunctionArns": os.environ.get("PLUGIN_FUNCTION_ARNS", ""),
            "SignInUrl": os.environ.get("SIGN_IN_URL", f"{settings.console_origin}/console"),
            "PublicApiUrl": settings.api_url,
            "EnvironmentName": "local",
            "ConsoleUrl": settings.console_origin,
            "SignInBase": settings.aws_endpoint,
            "CheckoutSuccessUrl": f"{settings.console_origin}/my?paid=yes",
            "CheckoutCancelUrl": f"{settings.console_origin}/my?paid=no",
        },
    )
    before = stack.read(stack.path(settings)) if stack.path(settings).exists() else None
    current: stack.Stack = {
        "api_url": settings.api_url,
        "console_url": f"{settings.console_origin}/console",
        "aws_endpoint": settings.aws_endpoint,
        "providers_url": settings.providers_url,
        "region": REGION,
        "stripe_webhook_secret": os.environ.get("STRIPE_WEBHOOK_SECRET")
        or (before["stripe_webhook_secret"] if before else f"whsec_{secrets.token_urlsafe(24)}"),
        "sendgrid_webhook_key": before["sendgrid_webhook_key"] if before else new_key(),
        "vapid_key": before["vapid_key"] if before else seed.new_vapid_key(),
        "users": seed.new_users(before["users"] if before else {}),
        "clients": seed.clients(settings.aws_endpoint, outputs),
        "outputs": outputs,
    }
    wait_until_listening(settings.providers_port, stand_ins, "The stand-ins", settings.state / "log" / "stand_ins.log")
    print("Seeding users, secrets, pools and plans ...", flush=True)
    # Written before anything is seeded: a run that is cut short must find its passwords again.
    stack.write(settings, current)
    seed.seed_users(current)
    seed.seed_secrets(current)
    resources.enter_context(gateway(settings, outputs["ApiId"]))
    ready = seed.seed_catalogue(current) if deployed else True
    played = settings.state / "played"
    if ready and not played.exists() and os.environ.get("ADBOT_PLAY", "1") == "1":
        _play(current, played)
    print(
        f"\nReady after {time.monotonic() - began:.0f} s.\n"
        f"  API      {settings.api_url}/health\n"
        f"  Mailbox  {settings.providers_url}/mailbox\n"
        f"  Console  {settings.console_origin}/console  (users and passwords: {stack.path(settings)})\n"
        f"  AWS      {settings.aws_endpoint}\n"
        f"  Token    make token ROLE={'|'.join(stack.ROLES)} or CLIENT={'|'.join(stack.CLIENTS)}\n"
        f"  Again    make demo\n"
        f"  Logs     {settings.state / 'log'}\n"
        f"  Memory   {_memory(servers)}\n"
        f"  Code     {'what SAM built' if settings.built else 'the source tree; the next call runs a changed line'}\n"
        "Ctrl-C stops it.",
        flush=True,
    )
    return servers


def _serve(servers: Mapping[str, Server], *, watched: bool) -> NoReturn:
    """Wait for Ctrl-C; replace the workers whenever a file of the source tree changes, if it is watched.

    Raises:
        Refused: a server has ended.
    """
    sources = watch.SourceWatch()
    while True:
        time.sleep(0.5)
        for name, server in servers.items():
            if server.poll() is not None:
                raise Refused(f"{name} ended unexpectedly; its log is in the log directory.")
        if watched and (changed := sources.changed()):
            servers["The embedded AWS"].send_signal(signal.SIGHUP)
            for path in changed:
                effect = "restart `make run`" if path in watch.DEPLOYED else "the next call runs it"
                print(f"{time.strftime('%H:%M:%S')} {path} changed: {effect}. {_memory(servers)}", flush=True)


def _memory(servers: Mapping[str, Server]) -> str:
    megabytes, processes = watch.memory({server.pid for server in servers.values()})
    return f"{megabytes} MB in {processes} processes (idle workers end)"


def _stand_ins(settings: Settings) -> AbstractContextManager[Server]:
    """Run the stand-ins for payment, mail and analytics providers that have no key."""
    command = [sys.executable, "-m", "local.stand_ins", "--port", str(settings.providers_port)]
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    return child(command, "stand_ins", settings, {**environment, "ADBOT_STATE": str(settings.state)})


def _play(current: stack.Stack, played: Path) -> None:
    """Play the main job once, so that the operator sees it work."""
    try:
        demo.play(current)
        played.touch()
    except Exception as error:  # noqa: BLE001 - whatever it is, the stack is up and the operator can look into it
        print(f"WARNING: the main job did not play as it should: {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
