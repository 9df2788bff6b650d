"""The path under test: load → outbound proxy ══ mutual TLS ══ inbound proxy → origin."""

import contextlib
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from .certificates import Certificates
from .process import Failure, Process, core_idle_seconds, cores
from .setup import which

# Path of the origin and the size of its body, bytes.
BODIES = {"/100b": 100, "/1k": 1024, "/64k": 64 * 1024, "/10m": 10 * 1024 * 1024}
_READY_WITHIN = 15.0


@dataclass(frozen=True)
class Ports:
    """All on 127.0.0.1, chosen by the kernel for each run."""

    outbound: int
    outbound_h2c: int
    outbound_tcp: int
    outbound_grpc: int
    inbound: int
    inbound_tcp: int
    inbound_grpc: int
    origin: int
    # Of whatever serves TCP in this run: iperf3 or redis.
    origin_tcp: int
    # HTTP/2 without TLS.
    origin_grpc: int


def free_ports():
    """Ports that were free a moment ago. Held together, so that all differ."""
    with contextlib.ExitStack() as stack:
        numbers = []
        for _ in Ports.__dataclass_fields__:
            held = stack.enter_context(socket.socket())
            held.bind(("127.0.0.1", 0))
            numbers.append(held.getsockname()[1])
        return Ports(*numbers)


@dataclass(frozen=True)
class Layout:
    """What a peer writes its configuration from."""

    directory: Path
    ports: Ports
    certificates: Certificates
    access_log: bool = False


@dataclass
class Usage:
    """CPU seconds of the proxies in a window, and who else used their core."""

    outbound: float = 0.0
    inbound: float = 0.0
    wall: float = 0.0
    # Share of the window in which something else than the proxies ran on their core.
    disturbance: float = 0.0
    # Share of the window in which their core had work, whosever.
    busy: float = 0.0

    @property
    def pair(self):
        return self.outbound + self.inbound


class Topology:
    """One peer's two proxies and the origin, fresh for each measurement."""

    def __init__(self, peer, layout, *, start=("inbound", "outbound")):
        self.peer = peer
        self.layout = layout
        self.ports = layout.ports
        self._start = start
        self._stack = contextlib.ExitStack()
        self.processes = {}

    def __enter__(self):
        try:
            self._run_origin()
            for role in self._start:
                self.start(role)
            if "outbound" in self._start:
                self.await_ready()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_exception):
        self._stack.close()

    def start(self, role):
        """Starts one of the proxies; waits only for the inbound one's socket."""
        argv, env = self.peer.command(role, self.layout)
        process = self._run(f"{self.peer.name}-{role}", argv, cores()[1], env)
        self.processes[role] = process
        if role == "inbound":
            # A health check that finds nobody would take it out of the outbound proxy's list.
            _await(lambda: _connects(self.ports.inbound), process)

    def run_origin_tcp(self, name, argv):
        """Starts what serves TCP behind the inbound proxy and waits for it to listen."""
        process = self._run(name, argv, cores()[0])
        _await(lambda: _connects(self.ports.origin_tcp), process)

    def run_origin_grpc(self, argv):
        """Starts what serves gRPC behind the inbound proxy and waits for it to listen."""
        process = self._run("grpc-origin", argv, cores()[0])
        _await(lambda: _connects(self.ports.origin_grpc), process)

    def _run(self, name, argv, core, env=None):
        process = Process(name, argv, core=core, directory=self.layout.directory, env=env)
        self._stack.callback(process.stop)
        return process

    def _run_origin(self):
        config = self.layout.directory / "origin.conf"
        config.write_text(origin_config(self.layout))
        for path in ("/64k", "/10m"):
            (self.layout.directory / path[1:]).write_bytes(body(path))
        argv = [which("nginx"), "-p", str(self.layout.directory), "-c", str(config), "-e", "stderr"]
        origin = self._run("origin", argv, cores()[0])
        _await(lambda: _answers(self.ports.origin), origin)

    def await_ready(self):
        """Until a request has gone the whole way."""
        _await(lambda: _answers(self.ports.outbound), *self.processes.values())

    def alive(self):
        """Raises if a proxy has died."""
        for process in self.processes.values():
            if (why := process.ended()) is not None:
                raise Failure(why)

    @contextlib.contextmanager
    def measured(self):
        """Fills in the Usage of what runs inside."""
        usage, core = Usage(), cores()[1]
        before = {role: process.cpu_seconds() for role, process in self.processes.items()}
        idle, begin = core_idle_seconds(core), time.monotonic()
        yield usage
        self.alive()
        usage.wall = time.monotonic() - begin
        busy = max(0.0, usage.wall - (core_idle_seconds(core) - idle))
        after = {role: process.cpu_seconds() for role, process in self.processes.items()}
        usage.outbound = after["outbound"] - before["outbound"]
        usage.inbound = after["inbound"] - before["inbound"]
        usage.busy = min(1.0, busy / usage.wall)
        usage.disturbance = max(0.0, (busy - usage.pair) / usage.wall)


def body(path):
    """What the origin answers, of printable bytes."""
    size = BODIES[path]
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def origin_config(layout):
    """nginx with fixed bodies: small ones from memory, large ones by sendfile."""
    root = layout.directory
    small = "\n".join(
        f'    location = {path} {{ return 200 "{body(path).decode()}"; }}' for path in ("/100b", "/1k")
    )
    return f"""
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {root}/origin.pid;
{"user root;" if root.owner() == "root" else ""}
events {{ worker_connections 19000; }}
http {{
  access_log off;
  default_type text/plain;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=16;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path {root}/origin-body;
  proxy_temp_path {root}/origin-proxy;
  fastcgi_temp_path {root}/origin-fastcgi;
  uwsgi_temp_path {root}/origin-uwsgi;
  scgi_temp_path {root}/origin-scgi;
  server {{
    listen 127.0.0.1:{layout.ports.origin} backlog=16384;
    root {root};
{small}
    location = /64k {{ }}
    location = /10m {{ }}
  }}
}}
"""


def get(port, path="/1k", timeout=5.0):
    """(status, body) of one request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(request_bytes(path, close=True))
        received = b""
        while chunk := connection.recv(1 << 16):
            received += chunk
    head, _, rest = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1."):  # nothing, or a TLS alert
        raise ConnectionError("closed without an answer in HTTP")
    return int(head.split(b" ", 2)[1]), rest


def request_bytes(path, *, close):
    """An HTTP/1.1 request."""
    ending = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: bench.internal\r\n{ending}\r\n".encode()


def _answers(port):
    try:
        return get(port) == (200, body("/1k"))
    except OSError:
        return False


def _connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _await(condition, *processes):
    deadline = time.monotonic() + _READY_WITHIN
    while not condition():
        for process in processes:
            if (why := process.ended()) is not None:
                raise Failure(why)
        if time.monotonic() > deadline:
            raise Failure(f"not ready within {_READY_WITHIN:.0f} s: " + " | ".join(p.tail() for p in processes))
        time.sleep(0.02)


# --- the inbound proxy, spoken to directly ---------------------------------------------------


def client_context(certificates, svid, *, alpn="h2"):
    """TLS 1.3 towards the inbound proxy, as `svid` (None shows no certificate)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(certificates.roots)
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    if svid is not None:
        context.load_cert_chain(svid.certificate, svid.key)
    return context


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def handshake(context, port, server_name, *, session=None):
    """A connection, its TLS handshake and the first bytes of the server; returns the TLS session.

    The server's first bytes (its HTTP/2 SETTINGS) matter: in TLS 1.3 a client is done before the
    server has looked at its certificate.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        # Or the preface waits 40 ms for the acknowledgement of what finished the handshake.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(connection, server_hostname=server_name, session=session) as tls:
            tls.sendall(_PREFACE)
            if not tls.recv(1 << 14):
                raise ConnectionError("the server closed after the handshake")
            return tls.session, tls.session_reused


def h2_status_is_200(context, port, server_name, path="/1k"):
    """Whether one HTTP/2 request at the inbound proxy is answered 200."""

    def literal(index, text):
        return bytes([index, len(text)]) + text.encode()

    block = b"\x82\x87" + literal(0x04, path) + literal(0x01, "bench.internal")
    # END_STREAM and END_HEADERS, stream 1.
    request = struct.pack(">I", len(block))[1:] + b"\x01\x05" + struct.pack(">I", 1) + block
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        context.wrap_socket(connection, server_hostname=server_name) as tls,
    ):
        tls.sendall(_PREFACE + request)
        received = b""
        while chunk := tls.recv(1 << 14):
            received += chunk
            while len(received) >= 9:
                length = int.from_bytes(received[:3])
                if len(received) < 9 + length:
                    break
                kind, payload = received[3], received[9 : 9 + length]
                received = received[9 + length :]
                if kind in (3, 7):  # RST_STREAM, GOAWAY
                    return False
                if kind == 1:
                    # After a change of the table's size, :status 200 is the static table's entry 8.
                    while payload and payload[0] & 0xE0 == 0x20:
                        payload = payload[1:]
                    return payload[:1] == b"\x88"
    return False


def _admitted(certificates, svid, port):
    try:
        return h2_status_is_200(client_context(certificates, svid), port, certificates.server.dns_name)
    except (OSError, ConnectionError):
        return False


def _tcp_admitted(topology, svid):
    """Whether a byte sent to the inbound TCP listener as `svid` comes out at the origin."""
    certificates, ports = topology.layout.certificates, topology.ports
    with socket.create_server(("127.0.0.1", ports.origin_tcp)) as origin, contextlib.suppress(OSError):
        origin.settimeout(1)
        context = client_context(certificates, svid, alpn=topology.peer.tcp_alpn)
        with (
            socket.create_connection(("127.0.0.1", ports.inbound_tcp), timeout=5) as connection,
            context.wrap_socket(connection, server_hostname=certificates.server.dns_name) as tls,
        ):
            tls.sendall(b"?")
            accepted, _ = origin.accept()
            with accepted:
                accepted.settimeout(1)
                return accepted.recv(1) == b"?"
    return False


def validate(topology):
    """Raises unless the path carries every body unharmed and admits exactly the client's identity."""
    ports, certificates = topology.ports, topology.layout.certificates
    for path in BODIES:
        status, received = get(ports.outbound, path, timeout=20)
        if (status, received) != (200, body(path)):
            raise Failure(f"{path}: status {status}, {len(received)} bytes of {BODIES[path]}")
    if not _admitted(certificates, certificates.client, ports.inbound):
        raise Failure("the inbound proxy refuses the client's certificate")
    if _admitted(certificates, certificates.stranger, ports.inbound):
        raise Failure("the inbound proxy lets a stranger of the same CA in")
    if _admitted(certificates, None, ports.inbound):
        raise Failure("the inbound proxy lets a client without certificate in")
    if not _tcp_admitted(topology, certificates.client):
        raise Failure("the inbound proxy refuses the client's TCP")
    if _tcp_admitted(topology, certificates.stranger):
        raise Failure("the inbound proxy carries a stranger's TCP")
    if _tcp_admitted(topology, None):
        raise Failure("the inbound proxy carries TCP of a client without certificate")
    with contextlib.suppress(OSError):
        if get(ports.inbound)[0] == 200:
            raise Failure("the inbound proxy answers plaintext")
