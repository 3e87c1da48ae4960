#!/usr/bin/env bash
# botocore 1.44.8: a DynamoDB Streams call with a StreamArn goes to https://<account>.streams-ddb.<region>.amazonaws.com, whatever
# account signs it; 1.43.106 sends it to https://streams.dynamodb.<region>.amazonaws.com. Expected: a minor version keeps the host.
# Firewalls and fakes that know the region's host alone see calls fail. AWS_ACCOUNT_ID_ENDPOINT_MODE=disabled restores it.
set -euo pipefail
cd "$(mktemp -d)"
cat > host.py <<'PY'
import botocore.session
from botocore.awsrequest import AWSResponse

class Body:
    def stream(self): return iter([b"{}"])
    def read(self): return b"{}"

session = botocore.session.get_session()
client = session.create_client("dynamodbstreams", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
def stop(request, **_):
    print(request.url)
    return AWSResponse(request.url, 200, {}, Body())
client.meta.events.register("before-send", stop)
client.describe_stream(StreamArn="arn:aws:dynamodb:eu-central-1:123456789012:table/t/stream/2020-01-01T00:00:00.000")
PY
host() { # version, mode
  test -d "venv-$1" || { python3 -m venv "venv-$1" && "venv-$1/bin/pip" --quiet --disable-pip-version-check install "botocore==$1"; }
  env -u AWS_ACCOUNT_ID_ENDPOINT_MODE HOME="$PWD" ${2:+AWS_ACCOUNT_ID_ENDPOINT_MODE=$2} "venv-$1/bin/python" host.py
}
before=$(host 1.43.106) after=$(host 1.44.8) off=$(host 1.44.8 disabled)
printf '%s\n' "1.43.106: $before" "1.44.8: $after" "1.44.8, disabled: $off"
[ "$before" = https://streams.dynamodb.eu-central-1.amazonaws.com/ ]
[ "$after" = https://123456789012.streams-ddb.eu-central-1.amazonaws.com/ ]
[ "$off" = https://streams.dynamodb.eu-central-1.amazonaws.com/ ]
