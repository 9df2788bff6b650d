"""An HTTP receiver of logs: appends each record that it takes to a file, one a line.

receiver.py PORT FILE FAULT...: the first requests meet these faults in turn: a status, `stall` (no answer), `close`
(taken, not answered), `cut` (closed in the middle of the body).
"""

import gzip
import http.server
import json
import sys
import threading
import time

port, path, faults = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
lock = threading.Lock()


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        with lock:
            fault = faults.pop(0) if faults else "200"
        length = int(self.headers["content-length"])
        if fault == "cut":
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if fault == "close":
            self.close_connection = True
            return
        if fault == "stall":
            time.sleep(60)
            self.close_connection = True
            return
        if fault == "200":
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.headers["content-type"] == "application/x-ndjson":
                records = [json.loads(line) for line in body.splitlines()]
            else:
                records = json.loads(body)
            with lock, open(path, "a") as kept:
                for record in records:
                    kept.write(json.dumps(record) + "\n")
        self.send_response(int(fault))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True


Server(("127.0.0.1", port), Receiver).serve_forever()
