"""A task's application that notes when what answers under a name changes: `NAME PORT FILE`.

It connects every few milliseconds. A line of FILE is what was told (a letter, or `-` for no answer) and when, in
nanoseconds of the machine's monotonic clock, which the harness reads too.
"""

import os
import socket
import sys
import time

INTERVAL_S = 0.004

name, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with open(f"{path}/{os.getpid()}-{time.monotonic_ns()}", "a", buffering=1) as file:
    while True:
        try:
            with socket.create_connection((name, port), timeout=1) as connection:
                connection.settimeout(1)
                seen = connection.recv(1).decode() or "-"
        except OSError:
            seen = "-"
        file.write(f"{seen} {time.monotonic_ns()}\n")
        time.sleep(INTERVAL_S)
