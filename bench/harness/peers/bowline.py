"""Bowline, from this repository's release build."""

import json
from pathlib import Path

from ..certificates import TRUST_DOMAIN
from ..process import Failure, run
from ..setup import version_of

_REPOSITORY = Path(__file__).resolve().parents[3]


class Bowline:
    name = "bowline"
    label = "Bowline"
    hop = "h2"
    # What its TCP hop offers by ALPN.
    tcp_alpn = "bowline-tcp"

    binary = _REPOSITORY / "target" / "release" / "bowline"

    def missing(self):
        """Why it cannot run, or None."""
        if not self.binary.exists():
            return f"{self.binary.relative_to(_REPOSITORY)} is not built: cargo build --release -p bowline"
        return None

    def version(self):
        return version_of([str(self.binary), "--version"])

    def command(self, role, layout):
        """(argv, environment) of one proxy; writes its configuration."""
        path = layout.directory / f"bowline-{role}.yaml"
        resources = _outbound(layout) if role == "outbound" else _inbound(layout)
        # JSON is YAML.
        path.write_text(json.dumps({"node": f"bench-{role}", "resources": resources}, indent=1))
        argv = [str(self.binary), "proxy", "--config", str(path)]
        if layout.access_log:
            if "--access-log" not in run([str(self.binary), "proxy", "--help"]):
                raise Failure("`bowline proxy` has no --access-log")
            argv += ["--access-log", str(layout.directory / f"bowline-{role}-access.log")]
        return argv, None


def _identity(layout, own):
    return [
        {"trust": {"name": TRUST_DOMAIN, "rootsPem": layout.certificates.roots.read_text()}},
        {
            "identity": {
                "name": "mesh",
                "spiffeId": own.spiffe_id,
                "dnsNames": [own.dns_name],
                "source": {"files": {"certificateChain": str(own.certificate), "privateKey": str(own.key)}},
            }
        },
    ]


# What AWS's Service Connect promises.
_OUTLIER_DETECTION = {
    "consecutiveFailures": 5,
    "intervalMs": 30_000,
    "baseEjectionMs": 30_000,
    "maxEjectionMs": 300_000,
}


def _route(name, cluster):
    forward = {
        "clusters": [{"cluster": cluster, "weight": 1}],
        "requestTimeoutMs": 15_000,
        "retry": {"maxRetries": 2, "retryOn": ["connect-failure", "refused-stream", "reset"]},
    }
    return {"route": {"name": name, "rules": [{"action": {"forward": forward}}]}}


def _outbound(layout):
    ports, certificates = layout.ports, layout.certificates

    def listener(name, port, protocol, target):
        bind = {"outbound": {"address": "127.0.0.1", "port": port, "hostnames": ["bench.internal"]}}
        return {"listener": {"name": name, "bind": bind, "protocol": protocol, "maxConnections": 20_000, **target}}

    def mesh(name, port, protocol):
        return [
            {
                "cluster": {
                    "name": name,
                    "protocol": protocol,
                    "kind": {"mesh": {"tls": "MUTUAL", "identities": [certificates.server.spiffe_id]}},
                    "outlierDetection": _OUTLIER_DETECTION,
                    "maxPending": 20_000,
                }
            },
            {"endpoints": {"name": name, "endpoints": [{"address": "127.0.0.1", "port": port, "taskId": "server"}]}},
        ]

    return [
        *_identity(layout, certificates.client),
        *mesh("mesh", ports.inbound, "HTTP"),
        *mesh("mesh-tcp", ports.inbound_tcp, "TCP"),
        *mesh("mesh-grpc", ports.inbound_grpc, "GRPC"),
        _route("outbound", "mesh"),
        _route("outbound-grpc", "mesh-grpc"),
        listener("outbound", ports.outbound, "HTTP", {"route": "outbound"}),
        listener("outbound-h2c", ports.outbound_h2c, "HTTP2", {"route": "outbound"}),
        listener("outbound-tcp", ports.outbound_tcp, "TCP", {"cluster": "mesh-tcp"}),
        listener("outbound-grpc", ports.outbound_grpc, "GRPC", {"route": "outbound-grpc"}),
    ]


def _inbound(layout):
    ports, certificates = layout.ports, layout.certificates

    def listener(name, port, protocol, target):
        bind = {
            "inbound": {
                "portName": name,
                "address": "127.0.0.1",
                "port": port,
                "tls": "MUTUAL",
                "authorization": "callers",
            }
        }
        return {"listener": {"name": name, "bind": bind, "protocol": protocol, "maxConnections": 20_000, **target}}

    def local(name, port, protocol):
        kind = {"local": {"port": port, "address": "127.0.0.1", "container": "origin"}}
        return {"cluster": {"name": name, "protocol": protocol, "kind": kind, "maxPending": 20_000}}

    rule = {"name": "client", "effect": "ALLOW", "identities": [certificates.client.spiffe_id]}
    return [
        *_identity(layout, certificates.server),
        {"authorization": {"name": "callers", "rules": [rule]}},
        local("application", ports.origin, "HTTP"),
        local("application-tcp", ports.origin_tcp, "TCP"),
        local("application-grpc", ports.origin_grpc, "GRPC"),
        _route("inbound", "application"),
        _route("inbound-grpc", "application-grpc"),
        listener("inbound", ports.inbound, "HTTP", {"route": "inbound"}),
        listener("inbound-tcp", ports.inbound_tcp, "TCP", {"cluster": "application-tcp"}),
        listener("inbound-grpc", ports.inbound_grpc, "GRPC", {"route": "inbound-grpc"}),
    ]
