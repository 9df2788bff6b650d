"""Tries to reach things, and prints what comes of it, a line each."""

import socket
import time

PLACES = [
    ("192.0.2.2", 80),
    ("outside.test", 80),
    ("missing.test", 80),
    ("192.0.2.2", 81),
    ("192.0.2.1", 80),
    ("192.0.2.3", 80),
    ("203.0.113.7", 80),
    ("127.0.0.1", 80),
    ("169.254.169.254", 80),
]

for host, port in PLACES:
    try:
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.settimeout(10)
            outcome = connection.recv(100).decode() or "closed"
    except socket.gaierror:
        outcome = "no such name"
    except OSError as error:
        outcome = type(error).__name__
    print(f"TRIED {host}:{port} {outcome}", flush=True)
print("TRIED all", flush=True)
time.sleep(1000)
