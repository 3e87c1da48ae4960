"""Where a cold start goes: the init of every function against a bare one, in one run. `make bench T=cold`.

Init is what Lambda does before the first event: a fresh interpreter imports the function and makes the clients that its
first request uses. The bare function makes boto3 clients for DynamoDB and SQS, Powertools' Logger and Metrics, and what
Powertools has for its trigger: the HTTP API resolver (without validation), or the batch processor. The limit is for the
ratio to that; the ratio to clients, Logger and Metrics alone is printed next to it. Both sides see what the layer will
hold and nothing else (the packages of the development environment change what botocore imports), compiled to bytecode,
in fresh interpreters, in turns. Compared is processor time, the least of all rounds: an init only computes, and other
load does not count.

What is imported at its first use is listed below with its own time: it is no part of init, but the first request or job
that needs it waits for it.
"""

from __future__ import annotations

import compileall
import os
import statistics
import subprocess
import sys
from pathlib import Path

from adbot_queue.testing.tables import template

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / ".local" / "layer-packages"
LIMIT = 1.3
ROUNDS = 7

BARE = """
import boto3
session = boto3.Session()
session.client("dynamodb"), session.client("sqs")
from aws_lambda_powertools import Logger, Metrics
Logger(), Metrics()
"""

TRIGGERS = {
    "http": "from aws_lambda_powertools.event_handler import APIGatewayHttpResolver\nAPIGatewayHttpResolver()",
    "batch": "from aws_lambda_powertools.utilities.batch import BatchProcessor as B, EventType\nB(EventType.SQS)",
    "schedule": "",
}

FUNCTION = """
import sys
sys.path.insert(0, {folder!r})
import app
from adbot_queue.core import aws
aws.dynamodb(), aws.sqs()
"""

# Libraries that are imported where they are first used: what for, and by what.
LATER = {
    "webhook: a signature of Stripe's": "from stripe import SignatureVerificationError, WebhookSignature",
    "delivery: a signature of SendGrid's": "from cryptography.hazmat.primitives.asymmetric import ec",
    "checkout, work: money": "import stripe",
    "work: a token": "import solders.token.state, solders.transaction, solders.keypair",
    "work: a mail": "import sendgrid, jinja2",
    "work: a notification": "from cryptography.hazmat.primitives.ciphers.aead import AESGCM",
}


def environment() -> dict[str, str]:
    """What the template gives a function, most of it made up, and where its modules are."""
    names = template()["Globals"]["Function"]["Environment"]["Variables"]
    fixed = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "eu-central-1"}
    fixed |= {"POWERTOOLS_LOG_LEVEL": "INFO", "PYDANTIC_DISABLE_PLUGINS": names["PYDANTIC_DISABLE_PLUGINS"]}
    return {
        **os.environ,
        **dict.fromkeys(names, "x"),
        **fixed,
        "PYTHONPATH": f"{ROOT / 'layers' / 'common'}:{PACKAGES}",
    }


def install() -> None:
    """Put what the layer will hold where nothing else is."""
    requirements = ROOT / "layers" / "common" / "requirements.txt"
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--target", str(PACKAGES)]
    subprocess.run([*uv, "--python", sys.executable, "-r", str(requirements)], check=True)
    compileall.compile_dir(PACKAGES, quiet=2)
    for folder in (ROOT / "functions", ROOT / "layers" / "common" / "adbot_queue"):
        compileall.compile_dir(folder, quiet=1)


def seconds(code: str, env: dict[str, str]) -> float:
    """Processor time that a fresh interpreter takes for this, its own start not counted."""
    timed = f"import time\nbegan = time.process_time()\n{code}\nprint(time.process_time() - began)"
    # -S: without the packages of the environment that this interpreter belongs to.
    done = subprocess.run([sys.executable, "-S", "-c", timed], env=env, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def trigger_of(folder: Path) -> str:
    """What calls a function, as its code says."""
    code = (folder / "app.py").read_text()
    if "api = Api(" in code or "console = Console(" in code:
        return "http"
    return "batch" if "core.consume" in code else "schedule"


def main() -> int:
    """Print the table; 1 when a function is above the limit."""
    folders = sorted(path.parent for path in ROOT.glob("functions/*/app.py"))
    install()
    env = environment()
    cases = {f"bare, {trigger}": BARE + code for trigger, code in TRIGGERS.items()}
    cases |= {folder.name: FUNCTION.format(folder=str(folder)) for folder in folders}
    later = {name: BARE + f"\nbegan = time.process_time()\n{code}" for name, code in LATER.items()}
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, code in cases.items():
            times[name].append(seconds(code, env))
    at_first_use = {name: min(seconds(code, env) for _ in range(3)) for name, code in later.items()}

    best = {name: min(took) for name, took in times.items()}
    print(f"{ROUNDS} fresh interpreters each, in turns; Python {sys.version.split()[0]}; limit {LIMIT}\n")
    print("| function | least ms | median ms | to bare of its trigger | to the barest |")
    print("|---|---|---|---|---|")
    ratios = {folder.name: best[folder.name] / best[f"bare, {trigger_of(folder)}"] for folder in folders}
    for name, took in times.items():
        print(
            f"| {name} | {best[name] * 1000:.0f} | {statistics.median(took) * 1000:.0f} | {ratios.get(name, 1):.2f} "
            f"| {best[name] / best['bare, schedule']:.2f} |"
        )
    print("\n| imported at first use | ms |\n|---|---|")
    for name, took_s in at_first_use.items():
        print(f"| {name} | {took_s * 1000:.0f} |")
    above = [name for name, ratio in ratios.items() if ratio > LIMIT]
    print(f"\n{'FAIL: above the limit: ' + ', '.join(above) if above else 'PASS: none above the limit'}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
