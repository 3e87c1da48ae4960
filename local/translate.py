"""From the packaged SAM template to plain CloudFormation: loops unrolled, SAM expanded.

In the cloud CloudFormation runs both transforms. The embedded AWS asks for other permissions than AWS for some
calls (`_ALSO`), which are added; and it speaks plain http, so what a bucket's policy denies without
TLS is left out. Nothing else is added or changed on the way.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, cast

import yaml

from local.settings import REGION, ROOT, sam_program

Template = dict[str, Any]

_LOOP = "Fn::ForEach::"
_ALSO = {
    "sqs:SendMessage": "sqs:SendMessageBatch",  # permissions that AWS does not know
    "sqs:ChangeMessageVisibility": "sqs:ChangeMessageVisibilityBatch",
    "lambda:GetEventSourceMapping": "lambda:ListEventSourceMappings",  # what it takes the reading of one for
    "bedrock:InvokeModel": "bedrock:Converse",  # another name of what AWS calls by one
}
_HAVE_POLICIES = {"AWS::IAM::Role", "AWS::IAM::Policy"}


class BadTemplate(ValueError):
    """SAM rejects a template.

    Attributes:
        errors: SAM's reasons, one per mistake.
    """

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class _Loader(yaml.CSafeLoader):
    """YAML with CloudFormation's short forms (`!Ref`) written out; dates stay text."""


def _written_out(loader: yaml.CSafeLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        value = value.split(".", 1) if name == "GetAtt" else value
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(cast("yaml.MappingNode", node), deep=True)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _written_out)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _loader, node: node.value)


def load(text: str) -> Template:
    """Parse a template, short forms of intrinsic functions included."""
    return cast("Template", yaml.load(text, _Loader))  # noqa: S506  a SafeLoader


def place_code(template: Template, place: Callable[[str], str]) -> None:
    """Replace each folder of code in an unrolled template with the address of its package: SAM rejects folders."""
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = place(resource["Properties"][name])


def unroll(template: Template) -> Template:
    """Expand every `Fn::ForEach`: the AWS::LanguageExtensions transform, as far as it is used.

    SAM CLI's own expansion is made for looking at templates: it drops `Fn::Sub` around names it cannot resolve.
    """
    result = {key: value for key, value in template.items() if key != "Transform"}
    transforms = template.get("Transform", [])
    result["Transform"] = [
        name
        for name in ([transforms] if isinstance(transforms, str) else transforms)
        if name != "AWS::LanguageExtensions"
    ]
    for section in ("Resources", "Outputs"):
        result[section] = _unroll_section(template.get(section, {}))
    return result


def _unroll_section(section: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in section.items():
        if not key.startswith(_LOOP):
            result[key] = value
            continue
        variable, items, body = value
        for item in items:
            result |= _unroll_section(_substitute(body, "${" + variable + "}", item))
    return result


def _substitute(node: Any, placeholder: str, item: str) -> Any:
    if isinstance(node, str):
        return node.replace(placeholder, item)
    if isinstance(node, list):
        return [_substitute(child, placeholder, item) for child in node]
    if isinstance(node, dict):
        done = {
            _substitute(key, placeholder, item): _substitute(value, placeholder, item) for key, value in node.items()
        }
        # A Sub with nothing left to fill in is its text; Ref and GetAtt need the text.
        text = done.get("Fn::Sub")
        return text if isinstance(text, str) and "${" not in text else done
    return node


def transform(template: Template, parameters: Mapping[str, str]) -> Template:
    """The packaged `template` as CloudFormation's transforms make it in the cloud.

    Raises:
        BadTemplate: SAM rejects it.
    """
    asked = {"template": unroll(template), "parameters": dict(parameters), "region": REGION}
    command = [sam_program("python"), "-m", "local.sam_process"]
    answer = subprocess.run(command, cwd=ROOT, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(answer.stdout)
    if "errors" in result:
        raise BadTemplate(result["errors"])
    plain: Template = result["template"]
    plain.pop("Transform", None)
    return plain


def expand(template: Template, parameters: Mapping[str, str]) -> Template:
    """The packaged `template` as plain CloudFormation for the embedded AWS."""
    plain = transform(template, parameters)
    _cover_other_names(plain["Resources"])
    _allow_plain_http(plain["Resources"])
    return plain


def _allow_plain_http(resources: Template) -> None:
    """Drop what bucket policies deny without TLS, and a policy that says nothing else."""
    without_tls = {"Bool": {"aws:SecureTransport": "false"}}
    for name in [key for key, value in resources.items() if value["Type"] == "AWS::S3::BucketPolicy"]:
        document = resources[name]["Properties"]["PolicyDocument"]
        document["Statement"] = [one for one in document["Statement"] if one.get("Condition") != without_tls]
        if not document["Statement"]:
            del resources[name]


def _cover_other_names(resources: Template) -> None:
    """Allow a call also under the name that the embedded AWS has for it."""
    for resource in resources.values():
        properties = resource.get("Properties", {})
        for policy in [properties, *properties.get("Policies", [])] if resource["Type"] in _HAVE_POLICIES else []:
            for statement in policy.get("PolicyDocument", {}).get("Statement", []):
                if "Action" not in statement:
                    continue  # conditional: the customer's key alone
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                statement["Action"] = [*actions, *(_ALSO[action] for action in actions if action in _ALSO)]
