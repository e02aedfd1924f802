"""Group commit: while the gateway is busy requests queue, then leave as one, joined byte by byte."""

import time

import pytest
import snappy

from harness import wire
from harness.waiting import in_background, results

BUSY = "--gateway.max-inflight=1"


def request_of(name, padding_bytes=0):
    return wire.write_request(wire.series(name, 1.0, 2.0, padding="x" * padding_bytes))


class Queue:
    """Writes that wait in the proxy behind one that the gateway does not answer yet."""

    def __init__(self, gateway, proxy):
        self.proxy = proxy
        self.writers = [in_background(proxy.write, snappy.compress(request_of("opener")))]
        gateway.wait_posts(1)

    def add(self, block):
        self.writers.append(in_background(self.proxy.write, block))
        self.proxy.wait_waiting(len(self.writers))

    def assert_all_accepted(self):
        assert [response.status for response in results(self.writers)] == [204] * len(self.writers)


def test_what_waits_leaves_as_one_post_that_is_the_concatenation(gateway, start_proxy):
    proxy = start_proxy(gateway, BUSY)
    decoded = [request_of(f"metric_{n}", padding_bytes=n * 50) for n in range(10)]
    with gateway.holding():
        queue = Queue(gateway, proxy)
        for number, one in enumerate(decoded):
            queue.add(snappy.compress(one) if number % 2 else wire.literal_block(one))
        assert len(gateway.posts) == 1

    queue.assert_all_accepted()
    assert len(gateway.posts) == 2
    assert gateway.posts[1].decoded == b"".join(decoded)
    metrics = proxy.metrics()
    assert metrics.value("agent_proxy_batch_requests_bucket", le="8") == 1
    assert metrics.value("agent_proxy_batch_requests_count") == 2
    assert metrics.value("agent_proxy_batch_requests_sum") == 11


def test_copies_that_reach_far_back_are_joined(gateway, start_proxy):
    """Bodies that compress well are made of copies; each must reach into its own bytes only."""
    proxy = start_proxy(gateway, BUSY)
    decoded = [wire.write_request(*(wire.series(f"m{n}", 1.0, instance=f"i{i}", region="eu" * 20)
                                    for i in range(300))) for n in range(6)]
    with gateway.holding():
        queue = Queue(gateway, proxy)
        for one in decoded:
            queue.add(snappy.compress(one))

    queue.assert_all_accepted()
    assert gateway.posts[1].decoded == b"".join(decoded)


def test_metadata_is_joined_with_series(gateway, start_proxy):
    family = wire.types.MetricMetadata(type="GAUGE", metric_family_name="up", help="Up or not")
    decoded = [wire.write_request(metadata=[family]), request_of("up"),
               wire.write_request(metadata=[family])]
    proxy = start_proxy(gateway, BUSY)
    with gateway.holding():
        queue = Queue(gateway, proxy)
        for one in decoded:
            queue.add(snappy.compress(one))

    queue.assert_all_accepted()
    assert gateway.posts[1].decoded == b"".join(decoded)


def test_both_paths_of_a_write_are_joined(gateway, start_proxy):
    proxy = start_proxy(gateway, BUSY)
    with gateway.holding():
        queue = Queue(gateway, proxy)
        for number, path in enumerate(["/api/v1/receive", "/api/v1/write"]):
            queue.writers.append(in_background(
                proxy.write, snappy.compress(request_of(f"metric_{number}")), path=path))
            proxy.wait_waiting(2 + number)

    queue.assert_all_accepted()
    assert len(gateway.posts) == 2


class TestABatchIsLimited:
    def batches_of(self, gateway, start_proxy, blocks, *flags):
        """Queue the blocks; return the batches in which they left: lists of posts' names."""
        proxy = start_proxy(gateway, BUSY, *flags)
        with gateway.holding():
            queue = Queue(gateway, proxy)
            for block in blocks:
                queue.add(block)
        queue.assert_all_accepted()
        return gateway.posts[1:]

    def test_by_requests(self, gateway, start_proxy):
        blocks = [snappy.compress(request_of(f"metric_{n}")) for n in range(10)]
        posts = self.batches_of(gateway, start_proxy, blocks, "--batch.max-requests=4")
        assert [len(post.request.timeseries) for post in posts] == [4, 4, 2]
        assert [name for post in posts for name in wire.names(post.request)] == \
            [f"metric_{n}" for n in range(10)]

    def test_by_bytes(self, gateway, start_proxy):
        blocks = [wire.literal_block(request_of(f"metric_{n}", 900)) for n in range(10)]
        assert 900 < len(blocks[0]) < 1024
        posts = self.batches_of(gateway, start_proxy, blocks, "--batch.max-bytes=4096")
        assert all(len(post.body) <= 4096 for post in posts)
        assert [len(post.request.timeseries) for post in posts] == [4, 4, 2]

    def test_by_decoded_bytes(self, gateway, start_proxy):
        requests = [request_of(f"metric_{n}", 9000) for n in range(10)]
        blocks = list(map(snappy.compress, requests))
        assert 9000 < len(requests[0]) < 10240
        posts = self.batches_of(gateway, start_proxy, blocks, "--batch.max-decoded-bytes=40960")
        assert all(len(post.decoded) <= 40960 for post in posts)
        assert [len(post.request.timeseries) for post in posts] == [4, 4, 2]

    def test_a_request_over_a_limit_of_batches_still_goes_alone(self, gateway, start_proxy):
        blocks = [wire.literal_block(request_of("small", 10)),
                  wire.literal_block(request_of("large", 9000)),
                  wire.literal_block(request_of("other", 10))]
        posts = self.batches_of(gateway, start_proxy, blocks, "--batch.max-bytes=4096")
        assert ["large"] in [wire.names(post.request) for post in posts]

    def test_by_one_request_joining_is_off(self, gateway, start_proxy):
        blocks = [snappy.compress(request_of(f"metric_{n}")) for n in range(5)]
        posts = self.batches_of(gateway, start_proxy, blocks, "--batch.max-requests=1")
        assert [post.body for post in posts] == blocks


def test_a_lone_request_leaves_at_once(gateway, proxy):
    """Nothing waits for company while the gateway is idle: 50 writes one after the other."""
    block = snappy.compress(request_of("up"))
    with proxy.client() as client:
        client.write(block)
        start_s = time.monotonic()
        for _ in range(50):
            assert client.write(block).status == 204
        elapsed_s = time.monotonic() - start_s
    assert len(gateway.posts) == 51
    assert elapsed_s < 2.0  # 40 ms each would be a linger; this is far below it


def test_lingering_joins_where_it_is_asked_for(gateway, start_proxy):
    proxy = start_proxy(gateway, "--batch.linger=1s")
    writers = [in_background(proxy.write, snappy.compress(request_of(f"metric_{n}")))
               for n in range(5)]
    assert [response.status for response in results(writers)] == [204] * 5
    assert len(gateway.posts) < 5


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_at_most_so_many_posts_are_in_flight(gateway, start_proxy, slots):
    proxy = start_proxy(gateway, f"--gateway.max-inflight={slots}")
    with gateway.holding():
        writers = []
        for number in range(slots + 3):
            block = snappy.compress(request_of(f"metric_{number}"))
            writers.append(in_background(proxy.write, block))
            proxy.wait_waiting(len(writers))
        gateway.wait_posts(slots)
        assert proxy.metrics().value("agent_proxy_gateway_requests_in_flight") == slots
        assert len(gateway.posts) == slots

    assert [response.status for response in results(writers)] == [204] * (slots + 3)
    assert len(gateway.posts) == slots + 1
