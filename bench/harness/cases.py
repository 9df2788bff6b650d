"""The table of cases. To add one: a function that returns its metrics, and a `Case` in `ALL`."""

import concurrent.futures
import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import load
from .process import Failure
from .topology import client_context, get, handshake, request_bytes

MICRO = 1e6


@dataclass(frozen=True)
class Goal:
    """What the project asks of Bowline: a ratio to a peer, or with `against` None a figure."""

    against: str | None
    required: float
    aim: float
    at_least: bool = False


@dataclass(frozen=True)
class Metric:
    """One line of the table."""

    key: str
    title: str
    unit: str
    digits: int = 0
    higher_is_better: bool = False
    goals: tuple[Goal, ...] = ()


@dataclass(frozen=True)
class Scale:
    """How long things take."""

    seconds: float
    warm_up: float
    # Of so many requests that a stall of the machine of 100 ms is not the slowest hundredth all by itself.
    fixed_rate_seconds: float
    idle_seconds: float
    handshakes: int
    redis_requests: int


FULL = Scale(
    seconds=5, warm_up=1, fixed_rate_seconds=30, idle_seconds=10, handshakes=3_200, redis_requests=100_000
)
QUICK = Scale(
    seconds=2, warm_up=1, fixed_rate_seconds=4, idle_seconds=3, handshakes=800, redis_requests=20_000
)


@dataclass(frozen=True)
class Case:
    """One measurement, which may give several metrics.

    `measure(bench, peer)` returns {metric key: value}. `bench.topology(peer)` is the running path and
    `bench.scale` says how long to take.
    """

    name: str
    about: str
    metrics: tuple[Metric, ...]
    measure: Callable
    # Run when no --cases is given.
    default: bool = True
    # The proxies' core should be fully busy; the page names the measurements in which it was not.
    saturates: bool = False


# --- HTTP/1.1 and HTTP/2, saturated ----------------------------------------------------------


def _saturated_metrics(what, rate_goals=(), cpu_goals=()):
    return (
        Metric("rate", f"requests/s, {what}", "1/s", higher_is_better=True, goals=rate_goals),
        Metric("cpu", f"pair CPU per request, {what}", "µs", digits=1, goals=cpu_goals),
    )


def _wrk_case(name, about, what, *, path="/1k", connections=200, headers=(), default=True, access_log=False, **goals):
    def measure(bench, peer):
        _need_descriptors(connections)
        # Making the connections must be a small part of it.
        longer = 1 if connections < 5_000 else 4
        seconds, warm_up = longer * bench.scale.seconds, longer * bench.scale.warm_up
        with bench.topology(peer, access_log=access_log) as topology:
            port = topology.ports.outbound
            load.wrk(port, path, connections=connections, seconds=warm_up, headers=headers)
            with bench.measured(topology) as usage:
                counted = load.wrk(port, path, connections=connections, seconds=seconds, headers=headers)
        return {"rate": counted.per_second, "cpu": MICRO * usage.pair / counted.requests}

    return Case(name, about, _saturated_metrics(what, **goals), measure, default, saturates=connections > 1)


def _h2c_case(name, about, what, *, connections, streams, default=True):
    def measure(bench, peer):
        with bench.topology(peer) as topology:
            port, shape = topology.ports.outbound_h2c, {"connections": connections, "streams": streams}
            load.h2load(port, "/1k", seconds=bench.scale.warm_up, **shape)
            with bench.measured(topology) as usage:
                counted = load.h2load(port, "/1k", seconds=bench.scale.seconds, **shape)
        return {"rate": counted.per_second, "cpu": MICRO * usage.pair / counted.requests}

    return Case(name, about, _saturated_metrics(what), measure, default, saturates=True)


# --- gRPC ------------------------------------------------------------------------------------

STREAMED_MESSAGES = 1_000


def _grpc(bench, peer, *, connections, streams, messages, size, echo):
    """The rate and the pair's CPU, each of one message that is sent."""
    with bench.topology(peer) as topology:
        directory = topology.layout.directory
        topology.run_origin_grpc(load.grpc_server(topology.ports.origin_grpc, directory, echo=echo))
        sent = directory / "grpc-messages"
        sent.write_bytes(messages * load.grpc_message(size))
        port, shape = topology.ports.outbound_grpc, {"connections": connections, "streams": streams, "grpc_body": sent}
        load.h2load(port, load.GRPC_METHOD, seconds=bench.scale.warm_up, **shape)
        with bench.measured(topology) as usage:
            counted = load.h2load(port, load.GRPC_METHOD, seconds=bench.scale.seconds, **shape)
    count = messages * counted.requests
    return {"rate": messages * counted.per_second, "cpu": MICRO * usage.pair / count}


def _grpc_unary(bench, peer):
    return _grpc(bench, peer, connections=20, streams=10, messages=1, size=100, echo=False)


def _grpc_streaming(bench, peer):
    return _grpc(bench, peer, connections=10, streams=1, messages=STREAMED_MESSAGES, size=1_024, echo=True)


# --- HTTP/1.1 at a fixed rate ----------------------------------------------------------------

RATE = 2_000
RATE_CONNECTIONS = 50


def _fixed_rate(bench, peer):
    with bench.topology(peer) as topology:
        shape = {"rate": RATE, "connections": RATE_CONNECTIONS}
        load.open_loop(topology.ports.outbound, "/1k", seconds=bench.scale.warm_up, **shape)
        with bench.measured(topology) as usage:
            seconds = bench.scale.fixed_rate_seconds
            seen = load.open_loop(topology.ports.outbound, "/1k", seconds=seconds, **shape)
    return {
        "cpu": MICRO * usage.pair / seen["requests"],
        "p50": seen["p50"],
        "p99": seen["p99"],
        "p999": seen["p999"],
    }


# --- memory ----------------------------------------------------------------------------------


# What start-up used may be given back until then, by every peer: seconds.
_START_GIVEN_BACK = 3.0


def _memory(bench, peer):
    count = 1_000
    _need_descriptors(count)
    with bench.topology(peer) as topology:
        proxies = topology.processes
        time.sleep(_START_GIVEN_BACK)
        idle = {role: process.rss_mib() for role, process in proxies.items()}
        held = []
        try:
            _hold(held, topology.ports.outbound, count)
            time.sleep(0.5)
            quiet = {role: process.rss_mib() for role, process in proxies.items()}
        finally:
            for connection in held:
                connection.close()
        with _peak_rss(proxies) as busy:
            load.wrk(topology.ports.outbound, "/1k", connections=count, seconds=bench.scale.seconds)
    return {
        f"{state}_{role}": values[role]
        for state, values in (("idle", idle), ("held", quiet), ("load", busy))
        for role in ("outbound", "inbound")
    }


@contextlib.contextmanager
def _peak_rss(proxies):
    """{role: largest RSS seen while inside}, looked at ten times a second."""
    peak, over = {}, threading.Event()

    def look():
        while not over.wait(0.1):
            for role, process in proxies.items():
                # One that has died is reported by who uses the topology.
                with contextlib.suppress(OSError):
                    peak[role] = max(peak.get(role, 0.0), process.rss_mib())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def _memory_10k(bench, peer):
    count = 10_000
    _need_descriptors(count)
    with bench.topology(peer) as topology:
        held = []
        try:
            _hold(held, topology.ports.outbound, count)
            time.sleep(1)
            return {f"held_{role}": process.rss_mib() for role, process in topology.processes.items()}
        finally:
            for connection in held:
                connection.close()


def _hold(held, port, count):
    """Opens connections that have each had one request answered, and keeps them in `held`."""
    for start in range(0, count, 100):
        batch = []
        for _ in range(min(100, count - start)):
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            held.append(connection)
            batch.append(connection)
            connection.sendall(request_bytes("/1k", close=False))
        for connection in batch:
            received = 0
            while received < 1024:
                chunk = connection.recv(1 << 16)
                if not chunk:
                    raise Failure(f"connection {len(held)} of {count} was closed")
                received += len(chunk)


def _need_descriptors(connections):
    """A connection costs a proxy up to two descriptors."""
    wanted = 2 * connections + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else max(soft, wanted)
    if connections + 200 > most:
        raise Failure(f"{wanted} descriptors are needed, and the limit is {most} (ulimit -Hn)")


# --- handshakes ------------------------------------------------------------------------------


HANDSHAKES_AT_ONCE = 16


def _handshake(bench, peer):
    return _handshakes(bench, peer, resume=False)


def _handshake_resumed(bench, peer):
    return _handshakes(bench, peer, resume=True)


def _handshakes(bench, peer, *, resume):
    with bench.topology(peer) as topology:
        certificates = topology.layout.certificates
        context = client_context(certificates, certificates.client)
        port, name = topology.ports.inbound, certificates.server.dns_name

        def several(count):
            session = handshake(context, port, name)[0] if resume else None
            for _ in range(count):
                last, resumed = handshake(context, port, name, session=session)
                if resume and not resumed:
                    raise Failure("the inbound proxy does not resume sessions")
                # TLS 1.3 tickets are for one use each.
                session = last if resume else None

        each = -(-bench.scale.handshakes // HANDSHAKES_AT_ONCE)
        with concurrent.futures.ThreadPoolExecutor(HANDSHAKES_AT_ONCE) as pool:
            list(pool.map(several, [2] * HANDSHAKES_AT_ONCE))
            with bench.measured(topology) as usage:
                list(pool.map(several, [each] * HANDSHAKES_AT_ONCE))
    # With resumption, one full handshake in `each` comes first.
    done = HANDSHAKES_AT_ONCE * (each + resume)
    return {"cpu": MICRO * usage.inbound / done, "rate": done / usage.wall}


# --- TCP -------------------------------------------------------------------------------------


def _tcp_bulk(bench, peer):
    with bench.topology(peer) as topology:
        topology.run_origin_tcp("iperf3", load.iperf3_server(topology.ports.origin_tcp))
        with bench.measured(topology) as usage:
            size, seconds = load.iperf3(topology.ports.outbound_tcp, seconds=bench.scale.seconds)
    return {"cpu": 1e3 * usage.pair / (size / 2**30), "rate": size / 2**20 / seconds}


def _tcp_ping_pong(bench, peer):
    with bench.topology(peer) as topology:
        argv = load.redis_server(topology.ports.origin_tcp, topology.layout.directory)
        topology.run_origin_tcp("redis", argv)
        requests = bench.scale.redis_requests
        with bench.measured(topology) as usage:
            rate, p50, p99 = load.redis_benchmark(topology.ports.outbound_tcp, connections=50, requests=requests)
    return {"rate": rate, "cpu": MICRO * usage.pair / requests, "p50": p50, "p99": p99}


# --- life ------------------------------------------------------------------------------------


def _cold_start(bench, peer):
    """From the start of an outbound sidecar until a request has gone the whole way."""
    with bench.topology(peer, start=("inbound",)) as topology:
        time.sleep(1)  # the inbound sidecar is past its own start
        begin = time.monotonic()
        topology.start("outbound")
        while True:
            try:
                if get(topology.ports.outbound)[0] == 200:
                    break
            except OSError:
                pass
            if time.monotonic() - begin > 20:
                raise Failure(f"no answer within 20 s: {topology.processes['outbound'].tail()}")
            time.sleep(0.001)
        return {"time": 1e3 * (time.monotonic() - begin)}


def _idle(bench, peer):
    with bench.topology(peer) as topology:
        time.sleep(1)
        with bench.measured(topology) as usage:
            time.sleep(bench.scale.idle_seconds)
    return {role: 100 * getattr(usage, role) / usage.wall for role in ("outbound", "inbound")}


def _per_sidecar(key, title, unit, digits=0, goals=()):
    return tuple(
        Metric(f"{key}_{role}" if key else role, f"{title}, {role}", unit, digits, goals=goals)
        for role in ("outbound", "inbound")
    )


ALL = {
    case.name: case
    for case in (
        _wrk_case(
            "saturated", "HTTP/1.1, 200 connections, 1 KiB (wrk)", "1 KiB, 200 connections",
            rate_goals=(Goal("envoy", 2.5, 4.0, at_least=True),),
            cpu_goals=(Goal("envoy", 0.4, 0.25), Goal("haproxy", 1.2, 0.75)),
        ),
        Case(
            "fixed-rate", f"HTTP/1.1 at {RATE:,}/s over {RATE_CONNECTIONS} connections, 1 KiB, open loop",
            (
                Metric("cpu", f"pair CPU per request at {RATE:,}/s", "µs", 1, goals=(Goal("envoy", 0.45, 0.35),)),
                Metric("p50", f"p50 at {RATE:,}/s", "µs", goals=(Goal("envoy", 0.55, 0.45),)),
                Metric("p99", f"p99 at {RATE:,}/s", "µs", goals=(Goal("envoy", 0.4, 0.35),)),
                Metric("p999", f"p99.9 at {RATE:,}/s", "µs"),
            ),
            _fixed_rate,
        ),
        Case(
            "memory", "RSS when idle, with 1,000 quiet connections, and at most with 1,000 busy ones",
            (
                *_per_sidecar("idle", "RSS idle", "MiB", 1, (Goal("envoy", 0.25, 0.15),)),
                *_per_sidecar("held", "RSS with 1,000 quiet connections", "MiB", 1),
                *_per_sidecar("load", "RSS at 1,000 busy connections", "MiB", 1, (Goal("envoy", 0.45, 0.3),)),
            ),
            _memory,
        ),
        Case(
            "handshake", f"full mutual TLS 1.3 handshakes, {HANDSHAKES_AT_ONCE} at a time",
            (
                Metric("cpu", "inbound CPU per mutual-TLS handshake", "µs", goals=(Goal("envoy", 0.6, 0.5),)),
                Metric("rate", "mutual-TLS handshakes/s, held back by the client", "1/s", higher_is_better=True),
            ),
            _handshake,
        ),
        Case(
            "tcp-bulk", "one TCP stream through the mesh (iperf3)",
            (
                Metric("cpu", "pair CPU per GiB of TCP", "ms", goals=(Goal("envoy", 1.0, 0.8),)),
                Metric("rate", "TCP throughput", "MiB/s", higher_is_better=True),
            ),
            _tcp_bulk,
        ),
        Case(
            "cold-start", "an outbound sidecar from exec to its first served request",
            (Metric("time", "cold start to first served request", "ms", goals=(Goal("envoy", 0.3, 0.1),)),),
            _cold_start,
        ),
        Case(
            "idle", "CPU of a sidecar without traffic, of one core",
            _per_sidecar("", "CPU idle", "%", 3, (Goal(None, 0.2, 0.05),)),
            _idle,
        ),
        _h2c_case(
            "h2-client", "HTTP/2 clients, 20 connections × 10 streams, 1 KiB (h2load)", "HTTP/2 client, 1 KiB",
            connections=20, streams=10,
        ),
        Case(
            "grpc-unary", "gRPC, 20 connections × 10 calls, 100 bytes each way and trailers (h2load, nghttpd)",
            (
                Metric("rate", "gRPC calls/s", "1/s", higher_is_better=True),
                Metric("cpu", "pair CPU per gRPC call", "µs", 1),
            ),
            _grpc_unary, saturates=True,
        ),
        Case(
            "grpc-streaming",
            f"gRPC, 10 calls at a time, each {STREAMED_MESSAGES:,} messages of 1 KiB there and then back (h2load, nghttpd)",
            (
                Metric("rate", "gRPC messages streamed/s", "1/s", higher_is_better=True),
                Metric("cpu", "pair CPU per gRPC message streamed both ways", "µs", 2),
            ),
            _grpc_streaming, default=False, saturates=True,
        ),
        _wrk_case(
            "new-connections", "HTTP/1.1, a new client connection for each request, 50 at a time",
            "new connection each", connections=50, headers=("Connection: close",),
        ),
        _wrk_case("body-64k", "HTTP/1.1, 50 connections, 64 KiB", "64 KiB, 50 connections", path="/64k", connections=50),
        _wrk_case(
            "body-100b", "HTTP/1.1, 200 connections, 100 bytes", "100 bytes, 200 connections", path="/100b",
            default=False,
        ),
        _wrk_case(
            "body-10m", "HTTP/1.1, 8 connections, 10 MiB", "10 MiB, 8 connections", path="/10m", connections=8,
            default=False,
        ),
        _wrk_case("connections-1", "HTTP/1.1, 1 connection", "1 KiB, 1 connection", connections=1, default=False),
        _wrk_case(
            "connections-1000", "HTTP/1.1, 1,000 connections", "1 KiB, 1,000 connections", connections=1_000,
            default=False,
        ),
        _wrk_case(
            "connections-10000", "HTTP/1.1, 10,000 connections", "1 KiB, 10,000 connections", connections=10_000,
            default=False,
        ),
        _wrk_case(
            "access-log", "as `saturated`, with the access log on", "1 KiB, access log on", access_log=True,
            default=False,
        ),
        Case(
            "memory-10k", "RSS with 10,000 quiet connections",
            _per_sidecar("held", "RSS with 10,000 quiet connections", "MiB", 1), _memory_10k, default=False,
        ),
        Case(
            "handshake-resumed", f"resumed mutual TLS 1.3 handshakes, {HANDSHAKES_AT_ONCE} at a time",
            (
                Metric("cpu", "inbound CPU per resumed handshake", "µs"),
                Metric("rate", "resumed handshakes/s, held back by the client", "1/s", higher_is_better=True),
            ), _handshake_resumed, default=False,
        ),
        Case(
            "tcp-ping-pong", "redis GET over 50 connections through the mesh (redis-benchmark)",
            (
                Metric("rate", "redis GET/s", "1/s", higher_is_better=True),
                Metric("cpu", "pair CPU per redis GET", "µs", 1),
                Metric("p50", "redis GET p50", "µs"),
                Metric("p99", "redis GET p99", "µs"),
            ),
            _tcp_ping_pong, default=False,
        ),
    )
}  # fmt: skip
