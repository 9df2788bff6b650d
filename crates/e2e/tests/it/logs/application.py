"""application.py COUNT FILE: prints numbered lines, and logs as many records over each of the log router's two inputs; the
second half once there is the file."""

import json
import os
import socket
import sys
import time

from fluent import sender

count, file = int(sys.argv[1]), sys.argv[2]
host = os.environ["FLUENT_HOST"]
fluent = sender.FluentSender("ecs-application", host=host, port=int(os.environ["FLUENT_PORT"]))
tcp = socket.create_connection((host, 5140))
for number in range(count):
    while number == count // 2 and not os.path.exists(file):
        time.sleep(0.05)
    print(f"line {number}", flush=True)
    if not fluent.emit(None, {"source": "fluent", "log": f"line {number}"}):
        print(f"fluent: {fluent.last_error}", file=sys.stderr, flush=True)
        fluent.clear_last_error()
    tcp.sendall(json.dumps({"source": "tcp", "log": f"line {number}"}).encode() + b"\n")
time.sleep(3600)
