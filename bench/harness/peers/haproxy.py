"""HAProxy, HTTP/2 between the proxies. It cannot match a URI SAN: see README.md."""

from ..setup import version_of, which


class Haproxy:
    name = "haproxy"
    label = "HAProxy"
    hop = "h2"
    # What its TCP hop offers by ALPN.
    tcp_alpn = None

    def missing(self):
        """Why it cannot run, or None."""
        return None if which("haproxy") else "haproxy is not installed"

    def version(self):
        words = version_of([which("haproxy"), "-v"]).split()
        return f"HAProxy {words[2].split('-')[0]}" if len(words) > 2 else "HAProxy ?"

    def command(self, role, layout):
        """(argv, environment) of one proxy; writes its configuration."""
        path = layout.directory / f"haproxy-{role}.cfg"
        path.write_text(_common(layout) + (_outbound(layout) if role == "outbound" else _inbound(layout)))
        return [which("haproxy"), "-db", "-f", str(path)], None


def _common(layout):
    log = "  log global\n  option httplog" if layout.access_log else ""
    return f"""
global
  nbthread 1
  maxconn 15000
  no strict-limits
  {"log stdout format raw local0" if layout.access_log else ""}
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3

defaults
  mode http
{log}
  timeout connect 5s
  timeout client 5m
  timeout server 15s
  timeout check 5s
  retries 2
  option redispatch
  retry-on conn-failure
  http-reuse always
"""


# As near as HAProxy comes to outlier detection: errors of live traffic take the server out, the check
# brings it back.
_HEALTH = "check inter 30s downinter 1s observe layer7 error-limit 5 on-error mark-down"
_HEALTH_TCP = "check inter 30s downinter 1s observe layer4 error-limit 5 on-error mark-down"


def _outbound(layout):
    ports, own, other = layout.ports, layout.certificates.client, layout.certificates.server
    tls = (
        f"ssl crt {own.combined} ca-file {layout.certificates.roots} verify required"
        f" verifyhost {other.dns_name} sni str({other.dns_name})"
    )
    return f"""
frontend outbound
  bind 127.0.0.1:{ports.outbound} backlog 16384
  default_backend mesh

frontend outbound-h2c
  bind 127.0.0.1:{ports.outbound_h2c} proto h2 backlog 16384
  default_backend mesh

backend mesh
  server peer 127.0.0.1:{ports.inbound} {tls} alpn h2 {_HEALTH}

frontend outbound-grpc
  bind 127.0.0.1:{ports.outbound_grpc} proto h2 backlog 16384
  default_backend mesh-grpc

backend mesh-grpc
  server peer 127.0.0.1:{ports.inbound_grpc} {tls} alpn h2 {_HEALTH}

listen outbound-tcp
  mode tcp
  timeout server 5m
  bind 127.0.0.1:{ports.outbound_tcp}
  server peer 127.0.0.1:{ports.inbound_tcp} {tls} {_HEALTH_TCP}
"""


def _inbound(layout):
    ports, own = layout.ports, layout.certificates.server
    tls = f"ssl crt {own.combined} ca-file {layout.certificates.roots} verify required"
    caller = f"{{ ssl_c_s_dn(CN) -m str {layout.certificates.client.spiffe_id} }}"
    return f"""
frontend inbound
  bind 127.0.0.1:{ports.inbound} {tls} alpn h2,http/1.1 backlog 16384
  http-request deny unless {caller}
  default_backend application

backend application
  server application 127.0.0.1:{ports.origin} {_HEALTH}

frontend inbound-grpc
  bind 127.0.0.1:{ports.inbound_grpc} {tls} alpn h2 backlog 16384
  http-request deny unless {caller}
  default_backend application-grpc

backend application-grpc
  server application 127.0.0.1:{ports.origin_grpc} proto h2 {_HEALTH}

listen inbound-tcp
  mode tcp
  timeout server 5m
  bind 127.0.0.1:{ports.inbound_tcp} {tls}
  tcp-request content reject unless {caller}
  server application 127.0.0.1:{ports.origin_tcp}
"""
