"""What a machine of the test serves. Arguments: the process it ends with, and "other" or "own"."""

import ctypes
import os
import socket
import struct
import sys
import threading
import time

CLONE_NEWNET = 0x40000000
parent, which = int(sys.argv[1]), sys.argv[2]


def banners():
    """Says on port 80 whose it is."""
    listener = socket.create_server(("0.0.0.0", 80))
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(which.encode())


def names():
    """Knows outside.test, which is 192.0.2.2."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 53))
    while True:
        question, client = server.recvfrom(2000)
        end = question.index(b"\0", 12) + 5
        known = question[12 : end - 4].lower() == b"\7outside\4test\0"
        head = question[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, int(known), 0, 0)
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4" + socket.inet_aton("192.0.2.2") if known else b""
        server.sendto(head + question[12:end] + answer, client)


if which == "other":
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    threading.Thread(target=names, daemon=True).start()
threading.Thread(target=banners, daemon=True).start()
while os.getppid() == parent:
    time.sleep(0.05)
