"""An application as X-Ray's SDK makes it one: a segment by UDP, sampling rules by TCP, at the address that it is told."""

import http.client
import json
import os
import socket
import time

host, port = os.environ["AWS_XRAY_DAEMON_ADDRESS"].rsplit(":", 1)
now = time.time()
trace = f"1-{int(now):08x}-{os.urandom(12).hex()}"
segment = {"id": os.urandom(8).hex(), "name": "app", "trace_id": trace, "start_time": now - 0.01, "end_time": now}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
    head = b'{"format":"json","version":1}\n'
    udp.sendto(head + json.dumps(segment).encode(), (host, int(port)))
connection = http.client.HTTPConnection(host, int(port), timeout=10)
connection.request("POST", "/GetSamplingRules", "{}", {"content-type": "application/json"})
answer = json.loads(connection.getresponse().read())
assert answer["SamplingRuleRecords"][0]["SamplingRule"]["RuleName"] == "Default", answer
print(f"told {trace} to {host}")
