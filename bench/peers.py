"""The programs that are measured: how each is configured and started.

A peer listens on a port of loopback and passes what is POSTed to `path` on to the sink, as
<sink>/<tenant>/api/v1/receive, with the tenant's header where it can add one. VMAGENT=/path and
EXTRA_PEER="name command" in the environment add peers.
"""

import dataclasses
import os
import pathlib
import shlex
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
    proxy_flags: tuple = ()

    @property
    def upstream(self):
        return f"http://{self.sink}{UPSTREAM_PATH}"


@dataclasses.dataclass
class Peer:
    name: str
    does: str  # to a body, for the table
    command: typing.Callable[[Setting], list]
    path: str = "/api/v1/receive"
    acknowledges_early: bool = False  # before the gateway did: it has to be waited for


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


def vmagent(setting, program=None):
    """Debian's vmagent as it comes: it decodes, queues in memory and on disk, and encodes anew."""
    return [
        program or harness.installed("vmagent", "victoria-metrics"),
        f"-httpListenAddr=127.0.0.1:{setting.port}",
        f"-remoteWrite.url={setting.upstream}",
        f"-remoteWrite.tmpDataPath={setting.folder}/queue",
        f"-remoteWrite.headers=WHIZARD-TENANT: {TENANT}",
        "-loggerLevel=ERROR",
    ]


def prometheus(setting):
    """Debian's Prometheus as an agent: it receives into its write-ahead log and sends from there.

    In its favour: no TSDB, no metadata, and as many samples in a request as the load has.
    """
    program = harness.installed("prometheus", "prometheus")
    path = setting.folder / "prometheus.yml"
    path.write_text(
        f"""
remote_write:
  - url: {setting.upstream}
    headers:
      WHIZARD-TENANT: {TENANT}
    metadata_config:
      send: false
    queue_config:
      min_shards: 4
      max_shards: 4
      capacity: 10000
      max_samples_per_send: 2000
      batch_send_deadline: 1s
"""
    )
    return [
        program,
        "--enable-feature=agent",
        "--web.enable-remote-write-receiver",
        f"--config.file={path}",
        f"--storage.agent.path={setting.folder}/wal",
        f"--web.listen-address=127.0.0.1:{setting.port}",
        "--log.level=error",
    ]


def floor(setting, processes=1):
    """bench/floor.c"""
    return [
        harness.tool(setting.build, "floor"),
        f"--listen=127.0.0.1:{setting.port}",
        f"--upstream={setting.upstream}",
        f"--processes={processes}",
    ]


def agent_proxy(setting, workers=1):
    """The proxy as it comes; AGENT_PROXY_FLAGS of the environment are added."""
    program = pathlib.Path(setting.build) / "agent-proxy"
    if not program.exists():
        raise harness.BenchError(f"{program} is missing: run `make`")
    return [
        str(program),
        f"--gateway.address=http://{setting.sink}",
        f"--tenant={TENANT}",
        f"--http-address=127.0.0.1:{setting.port}",
        f"--workers={workers}",
        "--http-grace-period=2s",
        *setting.proxy_flags,
        *os.environ.get("AGENT_PROXY_FLAGS", "").split(),
    ]


def extra_peer(text):
    """A peer from EXTRA_PEER="name command"; {port}, {upstream}, {sink}, {folder} are known."""
    name, _, command = text.strip().partition(" ")
    if not command.strip():
        raise harness.BenchError('EXTRA_PEER: "name command", as "mine ./relay {port} {upstream}"')

    def fill(setting):
        values = {
            "port": setting.port,
            "upstream": setting.upstream,
            "sink": setting.sink,
            "folder": setting.folder,
        }
        return [word.format(**values) for word in shlex.split(command)]

    return Peer(name, "", fill)


def known_peers(environment):
    """All peers by name; direct is none: the load generator talks to the sink."""
    known = [
        Peer("direct", "", None, UPSTREAM_PATH),
        Peer("nginx", "relays bytes", nginx),
        Peer("nginx-tuned", "relays bytes", nginx_tuned),
        Peer("haproxy", "relays bytes", haproxy),
        Peer("vmagent", "decodes, queues", vmagent, "/api/v1/write", True),
        Peer("prometheus", "decodes, queues", prometheus, "/api/v1/write", True),
        Peer("floor", "decodes, relays", floor),
        Peer("floor-2p", "two processes", lambda setting: floor(setting, 2)),
        Peer("agent-proxy", "decodes, joins", agent_proxy),
        Peer("agent-proxy-again", "the same program", agent_proxy),
        Peer("agent-proxy-2w", "two workers", lambda setting: agent_proxy(setting, 2)),
    ]
    own = environment.get("VMAGENT")
    if own:
        peer = Peer(
            "vmagent-given",
            "decodes, queues",
            lambda setting: vmagent(setting, own),
            "/api/v1/write",
            True,
        )
        known.append(peer)
    if environment.get("EXTRA_PEER"):
        known.append(extra_peer(environment["EXTRA_PEER"]))
    return {peer.name: peer for peer in known}
