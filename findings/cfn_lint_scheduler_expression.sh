#!/usr/bin/env bash
# cfn-lint 1.58.0: the schedule expression of AWS::Events::Rule is checked, the one of AWS::Scheduler::Schedule is not:
# rate(5 minute), rate(0 minutes) and plain words pass. Expected: the same check for both, as both are refused by AWS.
set -euo pipefail
cd "$(mktemp -d)"
python3 -m venv venv && venv/bin/pip --quiet --disable-pip-version-check install 'cfn-lint==1.58.0'
for expression in 'rate(5 minute)' 'rate(0 minutes)' 'every now and then'; do
  cat > rule.yaml <<YAML
Resources:
  Rule:
    Type: AWS::Events::Rule
    Properties: {ScheduleExpression: "$expression"}
YAML
  cat > schedule.yaml <<YAML
Resources:
  Schedule:
    Type: AWS::Scheduler::Schedule
    Properties:
      ScheduleExpression: "$expression"
      FlexibleTimeWindow: {Mode: "OFF"}
      Target: {Arn: "arn:aws:sqs:us-east-1:123456789012:queue", RoleArn: "arn:aws:iam::123456789012:role/role"}
YAML
  rule=0 schedule=0
  venv/bin/cfn-lint rule.yaml > rule.txt || rule=$?
  venv/bin/cfn-lint schedule.yaml > schedule.txt || schedule=$?
  echo "$expression: rule $rule ($(grep -o '^E[0-9]*' rule.txt | head -1)), schedule $schedule"
  [ "$rule" -ne 0 ] && [ "$schedule" -eq 0 ] || { cat rule.txt schedule.txt; exit 1; }
done
