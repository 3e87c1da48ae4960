"""Errors inside SAM's resources, which both linters pass, do not get past `make check`."""

from __future__ import annotations

import subprocess

import pytest

from local import lint
from local.settings import ROOT

pytestmark = pytest.mark.xdist_group("template")  # SAM makes the template once a process

HEAD = "Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]\nResources:\n"
WORK = """
  Queue@: {Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: 180}}
  Fn::ForEach::Workers@:
    - Name
    - [Work@]
    - ${Name}Role:
        Type: AWS::IAM::Role
        Properties:
          AssumeRolePolicyDocument:
            Version: "2012-10-17"
            Statement: [{Effect: Allow, Principal: {Service: lambda.amazonaws.com}, Action: sts:AssumeRole}]
          Policies:
            - PolicyName: work
              PolicyDocument:
                Version: "2012-10-17"
                Statement:
                  - {Effect: Allow, Action: [sqs:ReceiveMessage, sqs:DeleteMessage], Resource: [!GetAtt Queue@.Arn]}
      ${Name}Function:
        Type: AWS::Serverless::Function
        Properties:
          CodeUri: ../functions/work/
          Role: !GetAtt [!Sub "${Name}Role", Arn]
          Runtime: python3.13
          Architectures: [arm64]
          Handler: app.handler
          MemorySize: 1024
          Timeout: 30
          Events:
            Queue:
              Type: SQS
              Properties: {Queue: !GetAtt Queue@.Arn, BatchSize: 10, FunctionResponseTypes: [ReportBatchItemFailures]}
            Clock: {Type: ScheduleV2, Properties: {Name: clock@, ScheduleExpression: "rate(5 minutes)"}}
"""


def template(*variants: str) -> str:
    """A template with its variants next to each other, each under names of its own."""
    return HEAD + "".join(text.replace("@", f"{number}X") for number, text in enumerate(variants))


PLANTED = [
    ("sqs:ReceiveMessage,", "sqs:ReceiveMessages,", "W3037 Work@Role"),
    ("sqs:ReceiveMessage,", "SQS:Recieve*,", "W3037 Work@Role"),
    ("sqs:ReceiveMessage,", "sqss:ReceiveMessage,", "W3037 Work@Role"),
    ("sqs:ReceiveMessage,", "ReceiveMessage,", "Work@Role"),
    ("{Effect: Allow, Action: [sqs", "{Effect: Alow, Action: [sqs", "E3510 Work@Role"),
    ("{Effect: Allow, Action: [sqs", "{Efect: Allow, Action: [sqs", "E3510 Work@Role"),
    ("BatchSize: 10", "BatchSize: 20000", "E3034 Work@FunctionQueue"),
    ("BatchSize: 10", "BatchSize: 0", "E3034 Work@FunctionQueue"),
    ("[ReportBatchItemFailures]", "[ReportBatchItemFailure]", "E3030 Work@FunctionQueue"),
    ("BatchSize: 10", "BatchSize: 10, ScalingConfig: {MaximumConcurrency: 1}", "E3034 Work@FunctionQueue"),
    ("VisibilityTimeout: 180", "VisibilityTimeout: 29", "E3505 Queue@"),
    ("VisibilityTimeout: 180", "VisibilityTimeout: 43201", "E3034 Queue@"),
    ("Timeout: 30", "Timeout: 901", "Work@Function/Properties/Timeout"),
    ("MemorySize: 1024", "MemorySize: 64", "E3034 Work@Function/Properties/MemorySize"),
    ("Runtime: python3.13", "Runtime: python3.31", "E3030 Work@Function/Properties/Runtime"),
    ("Runtime: python3.13", "Runtime: python3.8", "Work@Function/Properties/Runtime"),
    ("[arm64]", "[arm]", "Work@Function/Properties/Architectures"),
    *(
        ("rate(5 minutes)", expression, "Schedule Work@FunctionClock")
        for expression in (
            "rate(1 minutes)",
            "rate(5 minute)",
            "rate(0 minutes)",
            "rate(5 seconds)",
            "rate(minutes)",
            "rate 5 minutes",
            "cron(0 25 * * ? *)",
            "cron(61 * * * ? *)",
            "cron(0 12 * * * *)",
            "cron(0 12 * * ?)",
            "cron(0 12 ? * ? *)",
            "cron(0 12 * * MONDAY *)",
            "at(2026-13-01T00:00:00)",
            "every day",
        )
    ),
]


@pytest.fixture(scope="module")
def found() -> list[str]:
    """What is found in all variants together: a run takes seconds."""
    for good, _, _ in PLANTED:
        assert good in WORK
    return lint.findings(template(*(WORK.replace(good, bad) for good, bad, _ in PLANTED)))


@pytest.mark.parametrize("number", range(len(PLANTED)), ids=[bad[:40] for _, bad, _ in PLANTED])
def test_an_error_in_a_sam_resource_is_found(found: list[str], number: int) -> None:
    expected = PLANTED[number][2].replace("@", f"{number}X")

    assert [line for line in found if expected in line], [line for line in found if f"{number}X" in line]


def test_what_sam_refuses_is_found() -> None:
    (line,) = lint.findings(template(WORK.replace("Timeout: 30", "Timeuot: 30")))

    assert "Timeuot" in line


def test_what_is_good_passes() -> None:
    expressions = [
        "rate(5 minutes)",
        "rate(1 minute)",
        "rate(12 hours)",
        "cron(0 12 * * ? *)",
        "at(2026-12-01T00:00:00)",
    ]

    assert lint.findings(template(*(WORK.replace("rate(5 minutes)", good) for good in expressions))) == []


@pytest.mark.parametrize("target", ["check", "validate"])
def test_make_check_lints_what_sam_makes(target: str) -> None:
    said = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607

    assert "-m local.lint\n" in said
