"""nginx: HTTP/1.1 between the proxies, for its upstreams speak nothing newer. See README.md."""

from ..setup import NGINX_STREAM, version_of, which


class Nginx:
    name = "nginx"
    label = "nginx"
    hop = "h1"
    # What its TCP hop offers by ALPN.
    tcp_alpn = None

    def missing(self):
        """Why it cannot run, or None."""
        if which("nginx") is None:
            return "nginx is not installed"
        return None if NGINX_STREAM.exists() else "libnginx-mod-stream is not installed"

    def version(self):
        return version_of([which("nginx"), "-v"]).replace("nginx version: nginx/", "nginx ")

    def command(self, role, layout):
        """(argv, environment) of one proxy; writes its configuration."""
        path = layout.directory / f"nginx-{role}.conf"
        path.write_text(_outbound(layout) if role == "outbound" else _inbound(layout))
        return [which("nginx"), "-p", str(layout.directory), "-c", str(path), "-e", "stderr"], None


def _config(layout, role, http, stream):
    root = layout.directory
    log = f"{root}/nginx-{role}-access.log" if layout.access_log else "off"
    temporary = "\n".join(
        f"  {kind}_temp_path {root}/nginx-{role}-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
load_module {NGINX_STREAM};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {root}/nginx-{role}.pid;
{"user root;" if root.owner() == "root" else ""}
events {{ worker_connections 19000; }}
http {{
  access_log {log};
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  http2_max_concurrent_streams 1000;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $host;
  proxy_max_temp_file_size 0;
  proxy_next_upstream error timeout;
  proxy_next_upstream_tries 3;
  proxy_read_timeout 15s;
{temporary}
{http}
}}
stream {{
  map_hash_bucket_size 256;
{stream}
}}
"""


def _upstream(name, port):
    return f"""
  upstream {name} {{
    server 127.0.0.1:{port} max_fails=5 fail_timeout=30s;
    keepalive 10000;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }}"""


def _outbound(layout):
    ports, own, other = layout.ports, layout.certificates.client, layout.certificates.server
    tls = f"""
    proxy_ssl_certificate {own.certificate};
    proxy_ssl_certificate_key {own.key};
    proxy_ssl_trusted_certificate {layout.certificates.roots};
    proxy_ssl_verify on;
    proxy_ssl_server_name on;
    proxy_ssl_name {other.dns_name};
    proxy_ssl_protocols TLSv1.3;"""
    http = f"""{_upstream("mesh", ports.inbound)}
  server {{
    listen 127.0.0.1:{ports.outbound} backlog=16384;
    listen 127.0.0.1:{ports.outbound_h2c} http2 backlog=16384;
{tls}
    location / {{ proxy_pass https://mesh; }}
  }}{_upstream("mesh_grpc", ports.inbound_grpc)}
  server {{
    listen 127.0.0.1:{ports.outbound_grpc} http2 backlog=16384;
    client_max_body_size 0;
{tls.replace("proxy_ssl", "grpc_ssl")}
    location / {{ grpc_pass grpcs://mesh_grpc; }}
  }}"""
    stream = f"""
  server {{
    listen 127.0.0.1:{ports.outbound_tcp};
    proxy_ssl on;
{tls}
    proxy_pass 127.0.0.1:{ports.inbound_tcp};
  }}"""
    return _config(layout, "outbound", http, stream)


def _inbound(layout):
    ports, own = layout.ports, layout.certificates.server
    caller = layout.certificates.client.spiffe_id
    tls = f"""
    ssl_certificate {own.certificate};
    ssl_certificate_key {own.key};
    ssl_client_certificate {layout.certificates.roots};
    ssl_verify_client on;
    ssl_protocols TLSv1.3;"""
    http = f"""{_upstream("application", ports.origin)}
  server {{
    listen 127.0.0.1:{ports.inbound} ssl http2 backlog=16384;
{tls}
    if ($ssl_client_s_dn != "CN={caller}") {{ return 403; }}
    location / {{ proxy_pass http://application; }}
  }}{_upstream("application_grpc", ports.origin_grpc)}
  server {{
    listen 127.0.0.1:{ports.inbound_grpc} ssl http2 backlog=16384;
    client_max_body_size 0;
{tls}
    if ($ssl_client_s_dn != "CN={caller}") {{ return 403; }}
    location / {{ grpc_pass grpc://application_grpc; }}
  }}"""
    stream = f"""
  # A connection of anybody else finds no application behind it.
  map $ssl_client_s_dn $application {{ "CN={caller}" 127.0.0.1:{ports.origin_tcp}; default ""; }}
  server {{
    listen 127.0.0.1:{ports.inbound_tcp} ssl;
{tls}
    proxy_pass $application;
  }}"""
    return _config(layout, "inbound", http, stream)
