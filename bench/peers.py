"""The programs that are measured: how each is configured and started.

A peer listens on a port of loopback and passes what is POSTed to `path` on to the sink, as
<sink>/<tenant>/api/v1/receive with the tenant's header.
"""

import dataclasses
import os
import pathlib
import typing

import harness

TENANT = "member-1"
UPSTREAM_PATH = f"/{TENANT}/api/v1/receive"


@dataclasses.dataclass
class Setting:
    """What a peer is started in."""

    build: str
    folder: pathlib.Path
    port: int
    sink: str  # host:port


@dataclasses.dataclass
class Peer:
    name: str
    does: str  # to a body, for the table
    command: typing.Callable[[Setting], list]
    path: str = "/api/v1/receive"


def nginx(setting, body_buffer="16k"):
    """Debian's nginx, one worker, nothing written to disk, connections kept on both sides.

    A body is relayed in pieces of body_buffer; 16k is nginx's default.
    """
    program = harness.installed("nginx", "nginx-light")
    paths = "".join(
        f"    {kind}_temp_path {setting.folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    config = f"""
daemon off;
{user}
worker_processes 1;
pid {setting.folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
{paths}
    access_log off;
    keepalive_requests 1000000000;
    client_max_body_size 64m;
    client_body_buffer_size {body_buffer};
    upstream gateway {{
        server {setting.sink};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{setting.port} backlog=4096;
        location / {{
            proxy_pass http://gateway{UPSTREAM_PATH};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header WHIZARD-TENANT {TENANT};
            proxy_request_buffering off;
            proxy_buffering off;
        }}
    }}
}}
"""
    path = setting.folder / "nginx.conf"
    path.write_text(config)
    return [program, "-p", str(setting.folder), "-c", str(path)]


def nginx_tuned(setting):
    """The same with the buffer that costs it least CPU for large bodies."""
    return nginx(setting, "512k")


def haproxy(setting):
    """Debian's haproxy, one thread, connections kept and shared."""
    program = harness.installed("haproxy", "haproxy")
    config = f"""
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend senders
    bind 127.0.0.1:{setting.port}
    default_backend gateway
backend gateway
    http-request set-path {UPSTREAM_PATH}
    http-request set-header WHIZARD-TENANT {TENANT}
    server sink {setting.sink}
"""
    path = setting.folder / "haproxy.cfg"
    path.write_text(config)
    return [program, "-db", "-f", str(path)]


def floor(setting):
    """bench/floor.c"""
    return [
        harness.tool(setting.build, "floor"),
        f"--listen=127.0.0.1:{setting.port}",
        f"--upstream=http://{setting.sink}{UPSTREAM_PATH}",
    ]


def agent_proxy(setting):
    """The proxy as it comes, with one worker."""
    program = pathlib.Path(setting.build) / "agent-proxy"
    if not program.exists():
        raise harness.BenchError(f"{program} is missing: run `make`")
    return [
        str(program),
        f"--gateway.address=http://{setting.sink}",
        f"--tenant={TENANT}",
        f"--http-address=127.0.0.1:{setting.port}",
        "--workers=1",
        "--http-grace-period=2s",
        *os.environ.get("AGENT_PROXY_FLAGS", "").split(),
    ]


PEERS = {
    peer.name: peer
    for peer in (
        Peer("nginx", "relays bytes", nginx),
        Peer("nginx-tuned", "relays bytes", nginx_tuned),
        Peer("haproxy", "relays bytes", haproxy),
        Peer("floor", "decodes, relays", floor),
        Peer("agent-proxy", "decodes, joins", agent_proxy),
    )
}
