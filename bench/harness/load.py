"""The programs that make load, and what they report."""

import json
import re
from dataclasses import dataclass

from .process import Failure, run
from .setup import open_loop_binary, which

# More failed requests than this, and the numbers say nothing about the proxy's speed.
ERRORS_TOLERATED = 0.001


@dataclass(frozen=True)
class Counted:
    """What a closed-loop run did."""

    requests: int
    seconds: float
    errors: int

    @property
    def per_second(self):
        return self.requests / self.seconds


def wrk(port, path, *, connections, seconds, headers=()):
    """HTTP/1.1, each connection sends its next request when it has the answer before."""
    argv = [_needed("wrk"), "-t", "1", "-c", str(connections), "-d", f"{_whole(seconds)}s", "--timeout", "10s"]
    for header in headers:
        argv += ["-H", header]
    text = run([*argv, f"http://127.0.0.1:{port}{path}"], timeout=seconds + 30)
    return checked(parse_wrk(text), "wrk")


def parse_wrk(text):
    """wrk's summary."""
    done = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
    if done is None:
        raise Failure(f"wrk said nothing usable: {text[-300:]}")
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[done[3]]
    errors = 0
    if sockets := re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text):
        errors += sum(map(int, sockets.groups()))
    if status := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
        errors += int(status[1])
    return Counted(int(done[1]), float(done[2]) * unit, errors)


def h2load(port, path, *, connections, streams, seconds, grpc_body=None):
    """HTTP/2 with prior knowledge, `streams` requests outstanding on each connection; calls of gRPC with the
    messages in the file `grpc_body`, where that is given."""
    argv = [_needed("h2load"), "-t", "1", "-c", str(connections), "-m", str(streams), "-D", str(_whole(seconds))]
    if grpc_body is not None:
        argv += ["-d", str(grpc_body), "-H", "content-type: application/grpc", "-H", "te: trailers"]
    text = run([*argv, f"http://127.0.0.1:{port}{path}"], timeout=seconds + 30)
    return checked(parse_h2load(text), "h2load")


def parse_h2load(text):
    """h2load's summary."""
    finished = re.search(r"finished in ([\d.]+)(us|ms|s), ", text)
    status = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    requests = re.search(r"requests: .* (\d+) failed, (\d+) errored, (\d+) timeout", text)
    if not (finished and status and requests):
        raise Failure(f"h2load said nothing usable: {text[-300:]}")
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0}[finished[2]]
    wrong = sum(int(status[index]) for index in (2, 3, 4))
    # `failed` holds the errored ones and, of the others, those with a bad status.
    return Counted(int(status[1]), float(finished[1]) * unit, max(wrong, int(requests[1])))


def open_loop(port, path, *, rate, connections, seconds):
    """HTTP/1.1 at a fixed rate; see load/open_loop.rs. Latencies in µs."""
    binary = open_loop_binary()
    if binary is None:
        raise Failure("the open-loop client is not compiled (no rustc)")
    argv = [str(binary), f"127.0.0.1:{port}", path, str(rate), str(connections), str(seconds)]
    result = json.loads(run(argv, timeout=seconds + 30))
    counted = Counted(result["requests"], result["seconds"], result["errors"])
    checked(counted, "open-loop")
    if counted.per_second < 0.98 * rate:
        raise Failure(f"only {counted.per_second:.0f} of {rate} requests/s were answered")
    return result


GRPC_METHOD = "/bench.Echo/Unary.grpc"


def grpc_message(size):
    """A message of gRPC: not compressed, `size` bytes long (gRPC over HTTP/2, "Length-Prefixed-Message")."""
    return b"\0" + size.to_bytes(4) + b"m" * size


def grpc_server(port, directory, *, echo):
    """The argv of gRPC's origin: it answers with a message of 100 bytes, or with all that it was sent, and trailers."""
    answer = directory / GRPC_METHOD[1:]
    answer.parent.mkdir(exist_ok=True)
    answer.write_bytes(grpc_message(100))
    types = directory / "grpc-types"
    types.write_text("application/grpc grpc\n")
    return [
        _needed("nghttpd"), "--no-tls", "-a", "127.0.0.1", "-d", str(directory), "--trailer=grpc-status: 0",
        "--max-concurrent-streams=1000", f"--mime-types-file={types}", *(["--echo-upload"] if echo else []), str(port),
    ]  # fmt: skip


def iperf3_server(port):
    """The argv of the bulk case's origin."""
    return [_needed("iperf3"), "-s", "-B", "127.0.0.1", "-p", str(port)]


def iperf3(port, *, seconds):
    """Bytes received by the far end in one TCP stream, as fast as it goes."""
    argv = [_needed("iperf3"), "-c", "127.0.0.1", "-p", str(port), "-t", str(_whole(seconds)), "-J"]
    result = json.loads(run(argv, timeout=seconds + 30))
    if "error" in result:
        raise Failure(f"iperf3: {result['error']}")
    received = result["end"]["sum_received"]
    return received["bytes"], received["seconds"]


def redis_server(port, directory):
    """The argv of the ping-pong case's origin: nothing is written."""
    return [
        _needed("redis-server"), "--port", str(port), "--bind", "127.0.0.1",
        "--save", "", "--appendonly", "no", "--dir", str(directory),
    ]  # fmt: skip


def redis_benchmark(port, *, connections, requests):
    """GET and its answer, one outstanding on each connection: (requests/s, p50 µs, p99 µs)."""
    argv = [
        _needed("redis-benchmark"), "-h", "127.0.0.1", "-p", str(port),
        "-t", "get", "-c", str(connections), "-n", str(requests), "-P", "1", "--csv",
    ]  # fmt: skip
    return parse_redis_benchmark(run(argv, timeout=120))


def parse_redis_benchmark(text):
    """The GET line of redis-benchmark's CSV; its latencies are in milliseconds."""
    rows = [[field.strip('"') for field in line.split(",")] for line in text.splitlines() if line.startswith('"')]
    if len(rows) < 2 or "rps" not in rows[0]:
        raise Failure(f"redis-benchmark said nothing usable: {text[-300:]}")
    row = dict(zip(rows[0], rows[1], strict=False))
    return float(row["rps"]), 1000 * float(row["p50_latency_ms"]), 1000 * float(row["p99_latency_ms"])


def checked(counted, tool):
    """The same, unless too much of it failed."""
    if counted.requests == 0:
        raise Failure(f"{tool}: no request was answered")
    if counted.errors > ERRORS_TOLERATED * counted.requests:
        raise Failure(f"{tool}: {counted.errors} errors beside {counted.requests} requests")
    return counted


def _needed(command):
    path = which(command)
    if path is None:
        raise Failure(f"{command} is not installed")
    return path


def _whole(seconds):
    """wrk, h2load and iperf3 take whole seconds."""
    return max(1, round(seconds))
