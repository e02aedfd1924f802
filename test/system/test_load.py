"""Many senders at once, and what they were told when something dies under them."""

import signal

import pytest

from harness import prometheus_text, wire
from harness.bench import LOAD, Loadgen, Sink, journal
from harness.gateway import answer, delayed
from harness.ports import Port
from harness.waiting import in_background, results, until

RECEIVE = "/member-1/api/v1/receive"
RETRY = ("--retry", "--retry-max-wait=100", "--deadline=60")


@pytest.fixture
def start():
    """Start a tool of bench/; it is ended with the scenario."""
    processes = []

    def start(kind, *arguments, **options):
        processes.append(kind(*arguments, **options))
        return processes[-1]

    yield start
    for process in processes:
        print(f"--- output of {process.argv[0]}\n{process.log[-2000:]}")
    for process in processes:
        process.finish() if isinstance(process, Sink) else process.kill()


def test_64_senders_at_a_gateway_of_20_ms(start, start_proxy, tmp_path):
    """Everyone is acknowledged, everything is stored once, in each sender's order, and the
    gateway is asked a quarter as often as the proxy, at most."""
    senders, requests = 64, max(20, int(500 * LOAD))
    sink = start(Sink, "--delay-ms=20", f"--expect-path={RECEIVE}",
                 "--expect-header=WHIZARD-TENANT: member-1")
    proxy = start_proxy(sink)
    code, result = start(Loadgen, proxy.url, tmp_path / "acks", senders, requests, 200).result()

    total = senders * requests
    assert (code, result["status"]) == (0, {"204": total}), result
    stats = sink.stats()
    assert stats["requests_complete"] == total
    assert stats["samples"] == result["samples_sent"] == total * 200
    for never in ("duplicates", "order_violations", "altered", "foreign", "partial",
                  "undecodable", "errors", "bad_path", "bad_header"):
        assert stats[never] == 0, stats
    assert stats["posts"] <= total / 4

    metrics = proxy.metrics()
    assert metrics.value("agent_proxy_write_requests_total", outcome="accepted") == total
    assert metrics.value("agent_proxy_samples_total", outcome="accepted") == total * 200
    assert metrics.value("agent_proxy_gateway_requests_total", outcome="2xx") == stats["posts"]
    assert metrics.value("agent_proxy_batch_requests_sum") == total
    assert metrics.value("agent_proxy_gateway_sent_bytes_total") == stats["bytes"]


def test_what_was_acknowledged_outlives_a_kill_of_the_gateway(start, start_proxy, tmp_path):
    senders, requests = 16, max(50, int(300 * LOAD))
    stored = tmp_path / "journal"
    with Port() as port:
        sink = start(Sink, "--delay-ms=5", journal=stored, port=port)
        proxy = start_proxy(sink)
        load = start(Loadgen, proxy.url, tmp_path / "acks", senders, requests, 50, *RETRY)
        for share in (0.2, 0.4, 0.6):
            load.wait_acknowledged(int(senders * requests * share))
            unavailable = heard(proxy, "unavailable")
            sink.kill()
            until(lambda: heard(proxy, "unavailable") > unavailable, "senders are told to wait")
            assert load.acknowledged() <= journal(stored)
            sink = start(Sink, "--delay-ms=5", journal=stored, port=port)
        code, result = load.result()

    assert (code, result["acknowledged"]) == (0, senders * requests), result
    assert len(load.acknowledged()) == senders * requests
    assert load.acknowledged() <= journal(stored)
    assert sink.stats()["altered"] == 0
    assert proxy.running()


def heard(proxy, outcome):
    return proxy.metrics().value("agent_proxy_write_requests_total", outcome=outcome)


def test_what_was_acknowledged_outlives_a_kill_of_the_proxy(start, start_proxy, tmp_path):
    senders, requests = 16, max(50, int(300 * LOAD))
    stored = tmp_path / "journal"
    sink = start(Sink, "--delay-ms=5", journal=stored)
    with Port() as port:
        proxy = start_proxy(sink, port=port)
        load = start(Loadgen, proxy.url, tmp_path / "acks", senders, requests, 50, *RETRY)
        for share in (0.2, 0.4, 0.6):
            load.wait_acknowledged(int(senders * requests * share))
            assert load.running(), load.log
            proxy.kill()
            assert load.acknowledged() <= journal(stored)
            proxy = start_proxy(sink, port=port)
        code, result = load.result()

    assert (code, result["acknowledged"]) == (0, senders * requests), result
    assert len(load.acknowledged()) == senders * requests
    assert load.acknowledged() <= journal(stored)
    stats = sink.stats()
    assert stats["requests_complete"] == senders * requests
    assert (stats["altered"], stats["foreign"], stats["order_violations"]) == (0, 0, 0)


@pytest.mark.parametrize("flag", ["--error-every=7", "--drop-every=7"])
def test_a_gateway_that_fails_now_and_then_costs_nobody_anything(start, start_proxy, tmp_path,
                                                                 flag):
    senders, requests = 16, max(20, int(100 * LOAD))
    stored = tmp_path / "journal"
    sink = start(Sink, "--delay-ms=2", flag, journal=stored)
    proxy = start_proxy(sink)
    code, result = start(Loadgen, proxy.url, tmp_path / "acks", senders, requests, 50,
                         *RETRY).result()

    assert (code, result["acknowledged"]) == (0, senders * requests), result
    assert len(journal(stored)) == senders * requests
    assert sink.stats()["order_violations"] == 0


def test_one_bad_sender_among_many_is_the_only_one_refused(start, start_proxy, tmp_path):
    senders, requests = 16, max(20, int(50 * LOAD))
    sink = start(Sink, "--delay-ms=2", "--poison-sender=5")
    proxy = start_proxy(sink)
    load = start(Loadgen, proxy.url, tmp_path / "acks", senders, requests, 20)
    load.result()

    assert load.answers() == {(sender, seq): 400 if sender == 5 else 204
                              for sender in range(senders) for seq in range(requests)}
    stats = sink.stats()
    assert stats["requests_complete"] == (senders - 1) * requests
    assert (stats["poisoned"] > 0, stats["altered"], stats["order_violations"]) == (True, 0, 0)


def test_with_two_workers_all_is_the_same_and_the_metrics_are_their_sum(start, start_proxy,
                                                                        tmp_path):
    senders, requests = 32, max(20, int(200 * LOAD))
    sink = start(Sink, "--delay-ms=5", f"--expect-path={RECEIVE}")
    proxy = start_proxy(sink, "--workers=2", "--workers.fill=0", "--gateway.max-inflight=1")
    code, result = start(Loadgen, proxy.url, tmp_path / "acks", senders, requests, 100).result()

    total = senders * requests
    assert (code, result["status"]) == (0, {"204": total}), result
    stats = sink.stats()
    assert (stats["requests_complete"], stats["duplicates"], stats["order_violations"]) == \
        (total, 0, 0)
    assert stats["posts"] <= total / 4
    assert stats["connections"] - 1 >= 2  # both workers have had one of their own
    for _ in range(10):  # whichever worker answers
        metrics = proxy.metrics()
        assert metrics.value("agent_proxy_write_requests_total", outcome="accepted") == total
        assert metrics.value("agent_proxy_samples_total", outcome="accepted") == total * 100
        assert metrics.value("agent_proxy_gateway_requests_total", outcome="2xx") == stats["posts"]
    assert metrics.value("agent_proxy_connections_accepted_total") >= senders


def test_few_senders_are_with_one_worker(start, start_proxy, tmp_path):
    sink = start(Sink)
    proxy = start_proxy(sink, "--workers=2", "--gateway.max-inflight=1")
    code, result = start(Loadgen, proxy.url, tmp_path / "acks", 8, 20, 100).result()
    assert (code, result["status"]) == (0, {"204": 160}), result
    assert sink.stats()["connections"] - 1 == 1  # ours is the other


def test_a_limit_for_an_address_leaves_it_the_other_workers(gateway, start_proxy):
    """Fewer than a worker's fill, so that all would wait for the first."""
    proxy = start_proxy(gateway, "--workers=2", "--limits.connections-per-address=4")
    first = proxy.client()

    def alone():
        metrics = prometheus_text.parse(first.request("GET", "/metrics").text)
        return metrics.value("agent_proxy_connections") == 1

    until(alone, "the connection that asked whether the proxy is ready is gone")
    clients = [first, *(proxy.client() for _ in range(7))]
    body = wire.body(wire.series("m", 1.0))
    assert [client.write(body).status for client in clients] == [204] * 8


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_under_load_leaves_no_sender_without_an_answer(gateway, start_proxy, number,
                                                                workers):
    gateway.on_post = lambda post: delayed(answer(), 0.01)
    proxy = start_proxy(gateway, f"--workers={workers}", "--gateway.max-inflight=2")

    def send_until_refused(sender):
        """Name -> status of all that was sent; a connection that ends in mid-request raises."""
        told = {}
        client = proxy.client()
        while True:
            name = f"sender_{sender}:{len(told)}"
            response = client.write(wire.body(wire.series(name, 1.0)))
            told[name] = response.status
            if response.headers.get("Connection") == "close":
                assert client.closed_by_peer()
                try:
                    client = proxy.client()
                except ConnectionRefusedError:
                    return told

    senders = [in_background(send_until_refused, sender) for sender in range(24)]
    gateway.wait_posts(30)
    proxy.send_signal(number)
    assert proxy.wait() == 0

    told = {}
    for answers in results(senders):
        told.update(answers)
    stored = {name for post in gateway.posts for name in wire.names(post.request)}
    assert set(told.values()) <= {204, 503}
    assert {name for name, status in told.items() if status == 204} <= stored
    assert sum(status == 204 for status in told.values()) >= 30
