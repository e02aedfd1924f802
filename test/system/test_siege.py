"""Good senders among many bad ones: what it costs them, measured with and without in one run."""

import os
import socket
import statistics
import threading
import time
from collections import Counter

import pytest

from harness import wire
from harness.bench import LOAD, Loadgen, Sink
from harness.client import WRITE_HEADERS, WRITE_PATH
from harness.gateway import answer, delayed
from harness.peers import Prometheus
from harness.scenario import MORE_WORKERS, SLOW, WORKERS
from harness.waiting import in_background, results, until

BUSY = ("--gateway.max-inflight=1",)
REPEATS = 1 if SLOW else 9
PAIRS = 1 if SLOW else 15  # of p99s, each of which a stall of the machine can spoil


@pytest.fixture
def start():
    """Start a process of bench/; it is ended with the test."""
    processes = []

    def start(kind, *arguments, **options):
        processes.append(kind(*arguments, **options))
        return processes[-1]

    yield start
    for process in processes:
        print(f"--- output of {process.argv[0]}\n{process.log[-2000:]}")
        if isinstance(process, Sink):
            process.finish()
        else:
            process.kill()


class SlowCrowd:
    """Connections that each send a byte now and then: of a head, or of a body. Those that the
    proxy closes are made anew, so that there are always as many."""

    def __init__(self, address, count):
        self.address = address
        self.count = count
        self.replaced = 0
        self._open = []
        self._ended = threading.Event()
        for number in range(count):
            self._add(number)
        self._thread = threading.Thread(target=self._trickle, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        for connection, _ in self._open:
            connection.close()

    def _add(self, number):
        connection = socket.create_connection(self.address, 20)
        head = "".join(f"{name}: {value}\r\n" for name, value in WRITE_HEADERS.items())
        head = f"POST {WRITE_PATH} HTTP/1.1\r\nHost: proxy\r\n{head}"
        if number % 2:
            head += "Content-Length: 10000\r\n\r\n"
        connection.sendall(head.encode())
        connection.setblocking(False)
        self._open.append((connection, number))

    def _trickle(self):
        """A byte a second on each, evenly over the second: slow clients know nothing of each
        other, and a burst of all would show what sending it costs this machine."""
        portions = 200
        portion = 0
        while not self._ended.wait(1 / portions):
            portion = (portion + 1) % portions
            for at in range(portion, len(self._open), portions):
                connection, number = self._open[at]
                try:
                    connection.send(b"X")
                except OSError:
                    connection.close()
                    self.replaced += 1
                    self._add(number)
                    self._open[at] = self._open.pop()


def p99s_ms(start, proxies, tmp_path, name):
    """Of four senders to each proxy, at once and at a fixed rate that leaves the machine room."""
    requests = 100 if not SLOW else 40
    rate = 400 if not SLOW else 40
    loads = [start(Loadgen, proxy.url, tmp_path / f"{name}-{number}", 4, requests, 100,
                   f"--rate={rate}") for number, proxy in enumerate(proxies)]
    found = []
    for load in loads:
        code, result = load.result()
        assert (code, result["status"]) == (0, {"204": 4 * requests}), result
        found.append(result["latency_us"]["p99"] / 1000)
    return found


def healthy_s(proxy):
    """How long /-/healthy takes on a connection of its own; it must say 200."""
    begin = time.monotonic()
    assert proxy.get("/-/healthy").status == 200
    return time.monotonic() - begin


def test_1000_slow_heads_and_bodies_at_once(start, start_proxy, tmp_path):
    """A good sender's p99 and the proxy's CPU at most double, and health still answers. What they
    are without the slow ones another proxy tells, at the same time and on the same CPU: so a stall
    of the machine is one of both. What the slow ones cost slows both, too, and shows as CPU."""
    slow = 1000
    cpu = str(min(os.sched_getaffinity(0)))
    pair = [start_proxy(start(Sink, "--verify"), *MORE_WORKERS, wrapper=["taskset", "-c", cpu])
            for _ in range(2)]
    proxy = pair[0]
    p99s_ms(start, pair, tmp_path, "warm-up")
    without, among, health = [], [], []
    with SlowCrowd(proxy.address, slow) as crowd:
        until(lambda: proxy.metrics().value("agent_proxy_connections") >= slow,
              "all slow connections are open")
        before = [one.cpu_s() for one in pair]
        for repeat in range(PAIRS):
            with_them, alone = p99s_ms(start, pair, tmp_path, f"pair-{repeat}")
            among.append(with_them)
            without.append(alone)
            health += [healthy_s(proxy) for _ in range(10)]
        cost, cost_alone = (one.cpu_s() - used for one, used in zip(pair, before))
    until(lambda: proxy.metrics().value("agent_proxy_connections") < 10,
          "the slow connections are gone")
    ratio = statistics.median(b / a for a, b in zip(without, among))
    print(f"p99 without {without} ms, among {slow} slow {among} ms: median ratio {ratio:.2f}; "
          f"CPU {cost_alone:.2f} and {cost:.2f} s; health in {1000 * max(health):.1f} ms at most, "
          f"{crowd.replaced} replaced")
    if not SLOW:
        assert ratio <= 2
        assert cost <= 2 * cost_alone
    assert max(health) < 5


GOOD, POISON = 63, 63  # 63 good senders; the bad one has the next number


def poisoned_run(start, start_proxy, tmp_path, poison_requests):
    """64 senders, the last of which is refused each time. Returns good requests/s and the rest."""
    sink = start(Sink, "--verify", "--delay-ms=5", f"--poison-sender={POISON}")
    proxy = start_proxy(sink, *MORE_WORKERS)
    requests = max(20, int(100 * LOAD))
    acks = tmp_path / f"good-{time.monotonic_ns()}"
    bad = poison_requests and start(
        Loadgen, proxy.url, tmp_path / f"bad-{time.monotonic_ns()}", 1, poison_requests, 50,
        f"--sender-base={POISON}")
    begin = time.monotonic()
    good = start(Loadgen, proxy.url, acks, GOOD, requests, 50)
    code, result = good.result()
    seconds = time.monotonic() - begin
    assert (code, result["status"]) == (0, {"204": GOOD * requests}), result
    heard = set(bad.answers().values()) if bad else set()
    if bad:
        bad.kill()
    return GOOD * requests / seconds, heard, proxy, sink


def test_one_bad_sender_among_63_good_ones(start, start_proxy, tmp_path):
    """The good ones hear only 204 and keep 80 % of their throughput; the bad one hears only 400."""
    rates = {0: [], 10 ** 6: []}
    for _ in range(REPEATS):
        for poison_requests, found in rates.items():
            rate, heard, proxy, sink = poisoned_run(start, start_proxy, tmp_path, poison_requests)
            found.append(rate)
            assert heard <= {400}
            assert bool(heard) == bool(poison_requests)
            stats = sink.stats()
            assert stats["order_violations"] == stats["altered"] == stats["partial"] == 0, stats
            assert proxy.metrics().value("agent_proxy_batch_resends_denied_total") == 0
            proxy.stop()
    without, among = (statistics.median(found) for found in rates.values())
    print(f"good requests/s: {without:.0f} without, {among:.0f} with the bad sender: "
          f"{100 * among / without:.0f} %; {rates}")
    if not SLOW:
        assert among >= 0.8 * without


def test_the_first_batch_with_a_bad_member_costs_13_posts(gateway, start_proxy):
    """Of 64, whichever the bad one is: itself, and two halves for each of six times."""
    for bad in (0, 31, 63):
        proxy = start_proxy(gateway, *BUSY)
        gateway.posts.clear()
        gateway.on_post = lambda post: (
            answer(400, b"bad is out of bounds")
            if f"s{bad}" in wire.names(post.request) else None)
        with gateway.holding():
            opener = in_background(proxy.write, wire.body(wire.series("opener", 1.0)))
            gateway.wait_posts(1)
            writers = []
            for number in range(64):
                writers.append(in_background(proxy.write,
                                             wire.body(wire.series(f"s{number}", 1.0))))
            proxy.wait_waiting(65)
        assert opener.result(20).status == 204
        answers = results(writers, timeout_s=60)
        statuses = [response.status for response in answers]
        assert statuses == [400 if number == bad else 204 for number in range(64)]
        assert answers[bad].text.strip() == "bad is out of bounds"
        assert len(gateway.posts) - 1 <= 13
        print(f"bad is member {bad}: {len(gateway.posts) - 1} posts")
        proxy.stop()


def test_bad_senders_that_come_anew_for_each_request(gateway, start_proxy):
    """Each may cost a worker one batch; from then on they travel alone, and the good ones hear only
    204. The address is theirs too, but they keep their connections."""
    goods, bads, rounds = 24, 6, 50
    refused, accepted = (delayed(play, 0.005) for play in (answer(400, b"out of bounds"), answer()))
    gateway.on_post = lambda post: refused if b"bad_" in post.decoded else accepted
    proxy = start_proxy(gateway, *MORE_WORKERS)
    over = threading.Event()

    def good(number):
        body = wire.body(wire.series(f"good_{number}", 1.0))
        statuses = Counter()
        with proxy.client() as client:
            while not over.is_set():
                statuses[client.write(body).status] += 1
        return statuses

    def bad(number):
        body = wire.body(wire.series(f"bad_{number}", 1.0))
        return Counter(proxy.write(body).status for _ in range(rounds))

    good_ones = [in_background(good, number) for number in range(goods)]
    bad_ones = [in_background(bad, number) for number in range(bads)]
    heard_by_bad = sum(results(bad_ones, timeout_s=60), Counter())
    over.set()
    heard_by_good = sum(results(good_ones), Counter())
    metrics = proxy.metrics()
    resends = metrics.value("agent_proxy_batch_resends_total")
    print(f"good: {heard_by_good}, bad: {heard_by_bad}, {resends:.0f} re-sends")
    assert set(heard_by_good) == {204}
    assert heard_by_bad == {400: bads * rounds}
    assert metrics.value("agent_proxy_batch_resends_denied_total") == 0
    halvings = (goods + bads - 1).bit_length()  # until one of them stands alone
    assert resends <= WORKERS * bads * 2 * halvings


AS_PEER = ("--tenant.path-prefix=false", "--gateway.write-path=/api/v1/write",
           "--gateway.max-inflight=1", "--batch.linger=50ms")


@pytest.mark.parametrize("why", ["out of order", "duplicate"])
def test_one_bad_sender_at_a_real_prometheus(start_proxy, tmp_path, why):
    """A receiver that refuses what is out of order, or another value for the same time: 63 good
    senders hear 204 and are stored, the bad one hears 400 in its words."""
    prometheus = Prometheus(tmp_path)
    try:
        proxy = start_proxy(prometheus.url, *AS_PEER)
        end_ms = wire.now_ms()
        rounds = 5

        def good(sender):
            bodies = [wire.body(wire.series(f"good_{sender}", float(number),
                                            start_ms=end_ms - 1000 * (rounds - number)))
                      for number in range(rounds)]
            with proxy.client(60) as client:
                return [client.write(body).status for body in bodies]

        def bad(_):
            newest = wire.body(wire.series("bad", 1.0, start_ms=end_ms))
            assert proxy.write(newest).status == 204
            late_ms = 60_000 if why == "out of order" else 0
            body = wire.body(wire.series("bad", 2.0, start_ms=end_ms - late_ms))
            with proxy.client(60) as client:
                answers = [client.write(body) for _ in range(rounds)]
            return [(answer.status, answer.text) for answer in answers]

        futures = [in_background(good, sender) for sender in range(63)]
        futures.append(in_background(bad, None))
        *statuses, refusals = results(futures, timeout_s=60)
        assert statuses == [[204] * rounds] * 63
        assert {status for status, _ in refusals} == {400}, refusals
        words = "out of order sample" if why == "out of order" else "duplicate sample"
        assert all(words in text for _, text in refusals), refusals
        stored = prometheus.stored(end_ms - 100_000, end_ms, __name__="good_.*")
        assert sorted(len(points) for points in stored.values()) == [rounds] * 63
        metrics = proxy.metrics()
        assert metrics.value("agent_proxy_batches_split_total") >= 1 or \
            metrics.value("agent_proxy_gateway_requests_total", outcome="4xx") >= 1
        print(refusals[0])
    finally:
        prometheus.close()


def test_a_gateway_that_takes_no_connection_is_given_up_after_3_s(start_proxy):
    """Its queue is full, so the kernel answers no SYN: 503, not the timeout of an answer."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        proxy = start_proxy("http://127.0.0.1:%d" % full.getsockname()[1])
        begin = time.monotonic()
        response = proxy.write(wire.body(wire.series("up", 1.0)))
        seconds = time.monotonic() - begin
        assert response.status == 503 and response.headers.get("Retry-After")
        assert 2.5 <= seconds <= 6, seconds
        for filler in fillers:
            filler.close()
