"""Which workers of the embedded AWS end, and when: its process is another Python's, so the cases run in that one."""

from __future__ import annotations

import json
import subprocess

from local.embedded import PYTHON, ROOT

CASES = """
import json, os, signal, threading, time
from local import aws_process
from ministack.core import lambda_runtime

class Worker:
    def __init__(self, name, in_use=False, last_used=0):
        self.name, self.in_use, self.last_used = name, in_use, last_used

ended, changed = [], threading.Condition()

def kill(workers):
    with changed:
        ended.extend(worker.name for worker in workers)
        changed.notify_all()

def until(*names):
    with changed:
        if not changed.wait_for(lambda: set(names) <= set(ended), 30):
            raise SystemExit(f"waited for {names}, ended: {ended}")

lambda_runtime.kill_workers, lambda_runtime.workers_in_use = kill, lambda: []
idle, busy, young = Worker("idle"), Worker("busy", in_use=True), Worker("young", last_used=time.time() + 3600)
pools = {"function": [idle, busy, young]}
lambda_runtime._workers = pools
workers, seen = aws_process._Workers(), {}

until("idle")
seen["idle"] = (list(ended), [worker.name for worker in pools["function"]])
os.kill(os.getpid(), signal.SIGHUP)
until("young")
seen["changed code"] = (list(ended), [worker.name for worker in pools["function"]])
busy.in_use = False
until("busy")
pools["function"] = [Worker("last", last_used=time.time() + 3600)]
workers.close()
seen["stop"] = list(ended)
try:
    lambda_runtime.Worker._spawn(None)
except RuntimeError as error:
    seen["afterwards"] = str(error)
print(json.dumps(seen))
"""


def test_idle_workers_end_and_those_in_use_end_after_their_work() -> None:
    done = subprocess.run(
        [PYTHON, "-c", CASES], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "idle": [["idle"], ["busy", "young"]],
        "changed code": [["idle", "young"], []],
        "stop": ["idle", "young", "busy", "last"],
        "afterwards": "the embedded AWS is stopping",
    }
