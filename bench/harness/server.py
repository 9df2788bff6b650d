"""`bowline server`: control plane, agent and AWS endpoint, with a state directory of its own."""

import json
import os
import time

from .process import Failure, Process

STARTS_WITHIN_S = 20


class Server:
    """Runs from construction to the end of the `with` block."""

    def __init__(self, bowline, directory, *arguments):
        self.state = f"{directory}/state"
        argv = [bowline, "server", "--state-dir", self.state, "--listen", "127.0.0.1:0", "--output", "json", *arguments]
        self._process = Process("bowline", argv, core=None, directory=directory, env=os.environ | {"TMPDIR": directory})
        try:
            told = self._told()
        except BaseException:
            self._process.stop()
            raise
        self.endpoint = told["endpoint"].removeprefix("http://")
        self.dns = next(iter(told.get("dns", [])), None)

    def _told(self):
        end = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < end:
            for line in self._process.log.read_text(errors="replace").splitlines():
                if line.startswith('{"endpoint"'):
                    return json.loads(line)
            if ended := self._process.ended():
                raise Failure(ended)
            time.sleep(0.02)
        raise Failure(f"the server does not listen: {self._process.tail()}")

    def tail(self):
        """The end of what it said."""
        return self._process.tail()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stop(patience=20)
