"""What joining saves a real gateway: its CPU per sample for the same samples, sent directly and
through agent-proxy. The gateway has the measured CPU, load generator and proxy share the other.
"""

import contextlib
import dataclasses
import pathlib
import tempfile
import time
import typing

import harness
import peers

LOADS = ((100, 64), (2000, 8))  # samples a request, connections
SAMPLES = 200_000  # sent in a run, however long others are
WARM_UP_REQUESTS = 20
STEP_MS = 15000
PAST_MS = 20 * 24 * 3600 * 1000  # samples begin so long ago, within what gateways take
WRITE_PATH = "/api/v1/write"
QUIET_CORES = 0.03
QUIET_SECONDS_MAX = 10


def victoria_metrics(folder, port):
    return [
        harness.installed("victoria-metrics", "victoria-metrics"),
        f"-httpListenAddr=127.0.0.1:{port}",
        f"-storageDataPath={folder}/data",
        "-retentionPeriod=12",
        "-search.disableCache",
        "-loggerLevel=ERROR",
    ]


def prometheus(folder, port):
    config = folder / "empty.yml"
    config.write_text("")
    return [
        harness.installed("prometheus", "prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder}/data",
        "--storage.tsdb.retention.time=365d",
        "--web.enable-remote-write-receiver",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]


@dataclasses.dataclass
class Gateway:
    name: str
    command: typing.Callable[[pathlib.Path, int], list]


GATEWAYS = (Gateway("victoria-metrics", victoria_metrics), Gateway("prometheus", prometheus))


def settled_cpu_ns(process):
    """CPU time of a gateway once what it does in the background is done."""
    before = harness.cpu_ns(process.pid)
    for _ in range(QUIET_SECONDS_MAX * 2):
        time.sleep(0.5)
        now = harness.cpu_ns(process.pid)
        if now - before < QUIET_CORES * 0.5e9:
            return now
        before = now
    return before


def measure(gateway, load, through_proxy, options):
    """One run. Returns the gateway's figures."""
    series, connections = load
    requests = max(1, int(SAMPLES / series / connections))
    first_ms = int(time.time() * 1000) - PAST_MS
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port = harness.free_port()
        command = harness.pinned(gateway.command(folder, port), options.cores.peer)
        process = stack.enter_context(harness.Process(command, folder, gateway.name))
        process.wait_for_port(port)
        posts = None
        if through_proxy:
            proxy_port = harness.free_port()
            flags = ("--no-tenant.path-prefix", f"--gateway.write-path={WRITE_PATH}")
            setting = peers.Setting(
                options.build, folder, proxy_port, f"127.0.0.1:{port}", flags
            )
            command = harness.pinned(peers.agent_proxy(setting), options.cores.load)
            proxy = stack.enter_context(harness.Process(command, folder, "agent-proxy"))
            proxy.wait_for_port(proxy_port)
            url = f"http://127.0.0.1:{proxy_port}/api/v1/receive"
            posts = proxy_port
        else:
            url = f"http://127.0.0.1:{port}{WRITE_PATH}"

        def send(count, first_ms):
            code, report = harness.run_loadgen(
                options.build,
                url,
                f"--series={series}",
                f"--connections={connections}",
                "--unique",
                f"--t0={first_ms}",
                f"--step={STEP_MS}",
                f"--requests={count}",
                core=options.cores.load,
            )
            process.check()
            if code != 0:
                raise harness.BenchError(f"{report['status']}, {report['first_refusal']!r}")
            return report

        send(WARM_UP_REQUESTS, first_ms)
        cpu = settled_cpu_ns(process)
        posts_before = harness.metric(posts, "agent_proxy_batch_requests_count") if posts else 0
        report = send(requests, first_ms + WARM_UP_REQUESTS * STEP_MS)
        cpu = settled_cpu_ns(process) - cpu
        joined = 1.0
        if posts:
            after = harness.metric(posts, "agent_proxy_batch_requests_count")
            joined = (after - posts_before) / report["requests"]
        return {
            "cpu_ns_per_sample": cpu / report["samples_acknowledged"],
            "samples_per_s": report["samples_per_s"],
            "posts_per_request": joined,
        }
