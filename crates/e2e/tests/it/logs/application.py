"""Prints COUNT numbered lines, and logs as many records over each of the log router's two inputs."""

import json
import os
import socket
import sys
import time

from fluent import sender

count = int(sys.argv[1])
host = os.environ["FLUENT_HOST"]
fluent = sender.FluentSender("ecs-application", host=host, port=int(os.environ["FLUENT_PORT"]))
tcp = socket.create_connection((host, 5140))
for number in range(count):
    print(f"line {number}", flush=True)
    if not fluent.emit(None, {"source": "fluent", "log": f"line {number}"}):
        print(f"fluent: {fluent.last_error}", file=sys.stderr, flush=True)
        fluent.clear_last_error()
    tcp.sendall(json.dumps({"source": "tcp", "log": f"line {number}"}).encode() + b"\n")
    time.sleep(0.01)
time.sleep(3600)
