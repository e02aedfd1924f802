"""What an operator sees: metrics, health, logs."""

import contextlib
import fcntl
import json
import os
import re
import signal

import pytest
import snappy

from harness import wire
from harness.gateway import answer
from harness.process import run
from harness.waiting import in_background, results, until


@pytest.fixture
def body():
    return wire.body(wire.series("up", 1.0, 2.0, 3.0), wire.series("load", 0.25))


def play_every_outcome(gateway, proxy, body):
    gateway.script(answer(200), answer(204), answer(400, b"no"), answer(503), answer(404),
                   answer(302), answer(500))
    return [proxy.write(body).status for _ in range(7)]


def test_metrics_pass_promtool(gateway, proxy, body):
    play_every_outcome(gateway, proxy, body)
    proxy.write(b"rubbish")
    response = proxy.get("/metrics")

    result = run(["promtool", "check", "metrics"], text=response.text)

    assert (result.returncode, result.stdout + result.stderr) == (0, "")
    assert response.headers.get("Content-Type").startswith("text/plain; version=0.0.4")


def test_every_metric_has_help_and_a_type_before_its_first_sample(proxy):
    text = proxy.get("/metrics").text
    for family in re.findall(r"^# TYPE (\S+) ", text, re.M):
        assert re.search(rf"^# HELP {family} \S", text, re.M), family
    samples = set(re.findall(r"^([a-z_]+)[ {]", text, re.M))
    families = set(re.findall(r"^# TYPE (\S+) ", text, re.M))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples} <= families


def test_counts_by_outcome_agree_with_what_happened(gateway, proxy, body):
    assert play_every_outcome(gateway, proxy, body) == [204, 204, 400, 503, 503, 503, 503]
    for _ in range(2):
        assert proxy.write(b"rubbish").status == 400
    assert proxy.write(snappy.compress(b"rubbish")).status == 400
    assert proxy.write(body, Content_Type="text/plain").status == 415
    assert proxy.write(body, Content_Encoding="gzip").status == 415
    assert proxy.get("/api/v1/write").status == 405
    assert proxy.get("/nowhere").status == 404

    metrics = proxy.metrics()

    def counts(name, label):
        return {dict(labels)[label]: value for (key, labels), value in metrics.items()
                if key == name and value}

    assert counts("agent_proxy_samples_total", "outcome") == \
        {"accepted": 2 * 4, "refused": 4, "unavailable": 4 * 4}
    assert metrics.value("agent_proxy_series_total") == 2 * 2
    assert counts("agent_proxy_gateway_requests_total", "outcome") == \
        {"2xx": 2, "3xx": 1, "4xx": 2, "5xx": 2}
    assert counts("agent_proxy_requests_rejected_total", "reason") == \
        {"snappy": 2, "protobuf": 1, "content_type": 1, "content_encoding": 1, "method": 1,
         "path": 1}
    outcomes = counts("agent_proxy_write_requests_total", "outcome")
    assert (outcomes["accepted"], outcomes["unavailable"]) == (2, 4)
    assert outcomes["refused"] >= 1 + 2 + 1  # by the gateway, and by us for what is in the body
    assert metrics.value("agent_proxy_gateway_misconfigured_total") == 2
    assert metrics.value("agent_proxy_gateway_sent_bytes_total") == 7 * len(body)
    assert metrics.value("agent_proxy_write_received_bytes_total") >= 7 * len(body)
    assert metrics.value("agent_proxy_batch_requests_count") == 7
    assert metrics.value("agent_proxy_batch_bytes_sum") == 7 * len(body)
    assert metrics.value("agent_proxy_gateway_request_duration_seconds_count") == 7
    assert metrics.value("agent_proxy_write_requests_waiting") == 0
    assert metrics.value("agent_proxy_gateway_requests_in_flight") == 0


def test_what_is_under_way_is_shown(gateway, proxy, body):
    with gateway.holding():
        writer = in_background(proxy.write, body)
        gateway.wait_posts(1)
        proxy.wait_waiting(1)
        assert proxy.metrics().value("agent_proxy_gateway_requests_in_flight") == 1
    assert results([writer])[0].status == 204
    proxy.wait_waiting(0)


def test_the_process_and_the_build_are_shown(proxy):
    metrics = proxy.metrics()
    assert metrics.value("process_resident_memory_bytes") > 1 << 20
    assert metrics.value("process_open_fds") >= 4
    assert metrics.value("process_max_fds") >= 1024
    assert metrics.value("process_cpu_seconds_total") >= 0
    assert metrics.value("process_start_time_seconds") > 1.7e9
    ((labels, value),) = [(dict(labels), value) for (name, labels), value in metrics.items()
                          if name == "agent_proxy_build_info"]
    assert value == 1
    assert labels["version"] in run([proxy.argv[0], "--version"]).stdout
    assert "revision" in labels


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready", "/metrics"])
def test_health_is_asked_by_get_and_head(proxy, path):
    with proxy.client() as client:
        got = client.request("GET", path)
        head = client.request("HEAD", path)
        again = client.request("GET", path)
    assert (got.status, head.status, again.status) == (200, 200, 200)
    assert got.body and head.body == b""
    if path != "/metrics":
        assert head.headers.get("Content-Length") == str(len(got.body))

    posted = proxy.get(path, method="POST")
    assert posted.status == 405
    assert posted.headers.get("Allow") == "GET, HEAD"


def test_the_proxy_is_ready_without_its_gateway(start_proxy):
    """Ready says that it listens; were the gateway's state in it, an outage of the gateway would
    take every proxy out of its Service and senders would hear a reset and not a 503."""
    proxy = start_proxy("http://127.0.0.1:1")
    assert proxy.get("/-/ready").status == 200


LOGFMT = re.compile(r'(?:[a-zA-Z_][\w.]*=(?:"(?:[^"\\]|\\.)*"|[^\s"=]*)(?: |$))+')
PAIR = re.compile(r'([a-zA-Z_][\w.]*)=("(?:[^"\\]|\\.)*"|[^\s"=]*)')


def parse_logfmt(line):
    assert LOGFMT.fullmatch(line), line
    return {key: json.loads(value) if value.startswith('"') else value
            for key, value in PAIR.findall(line)}


@pytest.mark.parametrize("format, parse", [("logfmt", parse_logfmt), ("json", json.loads)])
def test_every_log_line_can_be_parsed(gateway, start_proxy, body, format, parse):
    proxy = start_proxy(gateway, f"--log.format={format}", "--log.level=debug")
    play_every_outcome(gateway, proxy, body)
    gateway.script(answer(400, b'a "quoted"\\ \r\n\t\0\xff\x1b[31m = word'), answer(403, b"\xff"))
    proxy.write(body)
    proxy.write(body)
    proxy.write(b"rubbish")
    proxy.write(body, path="/no%00where\x7f")
    assert proxy.stop() == 0

    assert len(proxy.lines) >= 3
    for line in proxy.lines:
        fields = parse(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields["ts"]), line
        assert fields["level"] in ("debug", "info", "warn", "error")
        assert fields["msg"]


def levels(proxy):
    return {parse_logfmt(line)["level"] for line in proxy.lines}


@pytest.mark.parametrize("level, seen", [
    ("info", {"info", "warn", "error"}), ("warn", {"warn", "error"}), ("error", {"error"})])
def test_the_level_of_the_log_is_honoured(gateway, start_proxy, body, level, seen):
    proxy = start_proxy(gateway, f"--log.level={level}")
    play_every_outcome(gateway, proxy, body)
    assert proxy.stop() == 0
    assert levels(proxy) <= seen
    assert "error" in levels(proxy)  # the 404 and the 302 speak of the configuration


def test_the_start_says_what_is_served_and_where_it_goes(gateway, proxy):
    line = proxy.wait_line("agent-proxy started").string
    for fact in ("%s:%d" % proxy.address, gateway.url, "member-1"):
        assert fact in line


def test_a_flood_of_bad_input_is_not_a_flood_of_lines(gateway, proxy):
    with proxy.client() as client:
        for _ in range(300):
            assert client.write(b"rubbish").status == 400
    assert len(proxy.lines) < 50


def drain(pipe):
    """What was in it."""
    text = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            text += os.read(pipe, 4096)
    return text.decode()


@contextlib.contextmanager
def full_pipe(path):
    """A pipe that takes nothing until it is drained."""
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        size = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
        assert os.write(fd, b"\n" * size) == size
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def stuck(gateway, start_proxy, tmp_path):
    """A proxy whose log nobody reads, and the pipe that the log is stuck in."""
    with full_pipe(tmp_path / "log") as pipe:
        yield start_proxy(gateway, wrapper=[
            "sh", "-c", f'exec "$0" "$@" 2<>{tmp_path / "log"}']), pipe


def lines_lost(proxy):
    return proxy.metrics().value("agent_proxy_log_lines_lost_total")


def test_a_log_that_nobody_reads_holds_up_nothing(gateway, stuck, body):
    """Neither the worker, which warns of refusals, nor main, which tells of start, reload and end."""
    proxy, pipe = stuck
    assert proxy.write(b"rubbish").status == 400
    assert play_every_outcome(gateway, proxy, body) == [204, 204, 400, 503, 503, 503, 503]
    assert proxy.get("/-/healthy").status == 200
    lost = lines_lost(proxy)
    assert lost >= 2
    proxy.send_signal(signal.SIGHUP)
    until(lambda: lines_lost(proxy) > lost, "main has told of the reload")
    assert proxy.stop(timeout_s=5) == 0
    assert "level=" not in drain(pipe)


def test_once_it_is_read_the_log_tells_how_many_lines_were_lost(stuck):
    proxy, pipe = stuck
    assert proxy.write(b"rubbish").status == 400
    assert lines_lost(proxy) >= 1
    assert "level=" not in drain(pipe)
    lost = lines_lost(proxy)
    assert proxy.stop() == 0
    first, *others = map(parse_logfmt, drain(pipe).splitlines())
    assert first["lines_lost"] == f"{lost:g}"
    assert others[-1]["msg"] == "stopped"
    assert not any("lines_lost" in line for line in others)
