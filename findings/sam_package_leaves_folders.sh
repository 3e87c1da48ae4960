#!/usr/bin/env bash
# aws-sam-cli 1.170.0: `sam package` makes a folder in TMPDIR for each archive, removes the archive after its upload and leaves the
# empty folder. Expected: TMPDIR is as it was. A machine that deploys for years collects them, one a function and deployment.
# The bucket is one of roto-aws 0.10.1, on this machine.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
for tool in aws-sam-cli==1.170.0 roto-aws==0.10.1; do
  python3 -m venv "${tool%%==*}" && "${tool%%==*}/bin/pip" --quiet --disable-pip-version-check install "$tool"
done
mkdir scratch one two
echo 'def handler(event, context): return 1' > one/app.py
echo 'def handler(event, context): return 2' > two/app.py
cat > template.yaml <<'YAML'
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Globals: {Function: {Runtime: python3.13, Handler: app.handler}}
Resources:
  One: {Type: "AWS::Serverless::Function", Properties: {CodeUri: one}}
  Two: {Type: "AWS::Serverless::Function", Properties: {CodeUri: two}}
YAML
port=$(python3 -c 'import socket; one = socket.socket(); one.bind(("127.0.0.1", 0)); print(one.getsockname()[1])')
roto-aws/bin/roto-server --ephemeral --host 127.0.0.1 --port "$port" > roto.txt 2>&1 & server=$!
trap 'kill "$server"; wait "$server" || true; rm -rf "$PWD"' EXIT
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL_S3
export HOME="$PWD" AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=us-east-1 AWS_ENDPOINT_URL="http://127.0.0.1:$port" SAM_CLI_TELEMETRY=0
aws-sam-cli/bin/python - "$port" <<'PY'
import contextlib, socket, sys, time
import boto3
for _ in range(200):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1):
        break
    time.sleep(0.1)
boto3.client("s3").create_bucket(Bucket="archives")
PY
TMPDIR="$PWD/scratch" aws-sam-cli/bin/sam package --template-file template.yaml --s3-bucket archives --output-template-file packaged.yaml > said.txt 2>&1 || { cat said.txt; exit 1; }
uploaded=$(grep -c 's3://archives/' packaged.yaml)
folders=$(find scratch -mindepth 1 -type d -empty | wc -l) all=$(find scratch -mindepth 1 | wc -l)
aws-sam-cli/bin/sam --version
echo "$uploaded archives uploaded: expected 0 folders left, seen $folders, all empty: $([ "$folders" -eq "$all" ] && echo yes || echo no)"
[ "$uploaded" -eq 2 ]
[ "$folders" -eq 2 ]
[ "$all" -eq 2 ]
