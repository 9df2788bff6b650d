"""A client of Bowline's AWS endpoint that signs for itself, so that the harness needs no SDK."""

import hashlib
import hmac
import http.client
import json
from datetime import UTC, datetime

from .process import Failure

REGION = "us-east-1"
SIGNED = "content-type;host;x-amz-date;x-amz-target"
CONTENT_TYPE = "application/x-amz-json-1.1"
TARGETS = {
    "servicediscovery": "Route53AutoNaming_v20170314",
    "ecs": "AmazonEC2ContainerServiceV20141113",
}


class Endpoint:
    """A client of the endpoint, and a maker of signed requests for others to send."""

    def __init__(self, address, service="servicediscovery"):
        self.address, self.service = address, service
        host, port = address.rsplit(":", 1)
        self._connection = http.client.HTTPConnection(host, int(port), timeout=30)

    def headers(self, operation, body):
        now = datetime.now(UTC)
        day, at = f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
        target = f"{TARGETS[self.service]}.{operation}"
        canonical = (
            f"POST\n/\n\ncontent-type:{CONTENT_TYPE}\nhost:{self.address}\nx-amz-date:{at}\n"
            f"x-amz-target:{target}\n\n{SIGNED}\n{hashlib.sha256(body).hexdigest()}"
        )
        scope = f"{day}/{REGION}/{self.service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = b"AWS4test"
        for part in (day, REGION, self.service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        authorization = f"AWS4-HMAC-SHA256 Credential=test/{scope}, SignedHeaders={SIGNED}, Signature={signature}"
        return {
            "Host": self.address,
            "Content-Type": CONTENT_TYPE,
            "X-Amz-Date": at,
            "X-Amz-Target": target,
            "Authorization": authorization,
        }

    def raw(self, operation, request):
        """The bytes of a signed request, as a keep-alive client sends them."""
        body = json.dumps(request).encode()
        headers = self.headers(operation, body) | {"Content-Length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + body

    def call(self, operation, **request):
        body = json.dumps(request).encode()
        self._connection.request("POST", "/", body, self.headers(operation, body))
        response = self._connection.getresponse()
        answer = json.loads(response.read() or b"{}")
        if response.status != 200:
            raise Failure(f"{operation}: {response.status} {answer}")
        return answer
