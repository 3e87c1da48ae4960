"""SAM's transform as a process: a template on stdin, what it becomes on stdout, both JSON.

Runs in `.venv-sam`, which has nothing of this project: SAM's translator ties boto3 and pydantic to versions of its own.
`python -m local.sam_process`, asked by `local.translate.transform`.
"""

from __future__ import annotations

import json
import sys

import boto3
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator


def main() -> None:
    """Answer `{"template": ...}`, or `{"errors": [...]}` where SAM rejects the template."""
    asked = json.load(sys.stdin)
    translator = Translator(None, Parser(), boto_session=boto3.Session(region_name=asked["region"]))
    try:
        # SAM looks up AWS's managed policies by name; this template uses none.
        plain = translator.translate(asked["template"], asked["parameters"], get_managed_policy_map=dict)
    except InvalidDocumentException as rejected:
        json.dump({"errors": [cause.message for cause in rejected.causes]}, sys.stdout)
    else:
        json.dump({"template": plain}, sys.stdout)


if __name__ == "__main__":
    main()
