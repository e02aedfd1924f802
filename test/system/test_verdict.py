"""What the sender hears, for whatever the gateway does: the verdict table, line by line.

A sender drops its data for good on a 4xx, so 4xx is told only where its data is at fault; 2xx is
told only where the gateway has said so to every byte; everything else is 503, to be sent again.
"""

import pytest

from harness import wire
from harness.gateway import answer, close, cut_short, hang, raw, reset
from harness.ports import Port
from harness.waiting import in_background, results

BUSY = "--gateway.max-inflight=1"


def body_of(name):
    return wire.body(wire.series(name, 1.0))


def accepted(response):
    assert (response.status, response.body) == (204, b""), response
    return True


def try_again(response, retry_after_s=range(1, 6)):
    """503 with a time to wait and a line of text."""
    assert response.status == 503, response
    assert int(response.headers.get("Retry-After")) in retry_after_s
    assert response.text.strip()
    return True


@pytest.fixture
def write_together(gateway, start_proxy):
    """Write bodies so that they leave in one batch: the first occupies the only slot until all
    others wait. Returns their responses, the first's left out; as do gateway.posts of batch()."""

    def write(*bodies, flags=()):
        proxy = start_proxy(gateway, BUSY, *flags)
        with gateway.holding():
            opener = in_background(proxy.write, body_of("opener"))
            gateway.wait_posts(1)
            writers = []
            for body in bodies:
                writers.append(in_background(proxy.write, body))
                proxy.wait_waiting(1 + len(writers))
        assert accepted(opener.result(20))
        return results(writers)

    return write


ACCEPTED = [200, 202, 204]
REFUSED = [400, 409, 413, 422]
MISCONFIGURED = [401, 403, 404, 405, 301, 302, 307, 418]
UNAVAILABLE = [408, 425, 429, 500, 502, 503, 504, 599]
NO_ANSWER = {
    "closes before the answer": close,
    "resets before the answer": reset,
    "cuts a 200 short": cut_short(200),
    "cuts a 400 short": cut_short(400),
    "answers in mid-status": raw(b"HTTP/1.1 20"),
    "answers garbage": raw(b"\x16\x03\x01 this is no HTTP \r\n\r\n"),
    "answers a chunk that is none": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz"),
    "answers 100 and no more": raw(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


class TestALoneRequest:
    @pytest.mark.parametrize("status", ACCEPTED)
    def test_is_accepted(self, gateway, proxy, status):
        gateway.script(answer(status))
        assert accepted(proxy.write(body_of("up")))

    def test_is_accepted_after_100_continue(self, gateway, proxy):
        gateway.script(raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
                           b"Content-Length: 0\r\n\r\n", keep=True))
        assert accepted(proxy.write(body_of("up")))

    @pytest.mark.parametrize("status", REFUSED)
    def test_is_refused_in_the_gateways_words(self, gateway, proxy, status):
        gateway.script(answer(status, b"out of order sample: up{job=\"node\"}\n"))
        response = proxy.write(body_of("up"))
        assert response.status == status
        assert response.text.strip() == 'out of order sample: up{job="node"}'
        assert len(gateway.posts) == 1

    def test_hears_the_first_kib_of_a_long_refusal(self, gateway, proxy):
        words = b"".join(b"%05d " % n for n in range(1000))
        gateway.script(answer(400, words))
        response = proxy.write(body_of("up"))
        assert response.status == 400
        assert response.body.rstrip(b"\n") == words[:1024]

    @pytest.mark.parametrize("status", MISCONFIGURED)
    def test_does_not_suffer_for_the_proxys_configuration(self, gateway, proxy, status):
        gateway.script(answer(status, b"who are you?", Location="http://127.0.0.1:1/"))
        assert try_again(proxy.write(body_of("up")))
        assert len(gateway.posts) == 1
        assert proxy.metrics().value("agent_proxy_gateway_misconfigured_total") == 1
        assert proxy.wait_line(rf"level=error .*\b{status}\b")

    @pytest.mark.parametrize("status", UNAVAILABLE)
    def test_is_to_be_sent_again(self, gateway, proxy, status):
        gateway.script(answer(status, b"later"))
        assert try_again(proxy.write(body_of("up")))
        assert accepted(proxy.write(body_of("up")))

    @pytest.mark.parametrize("given, told", [
        ("7", [7]), ("300", [300]), ("86400", [300]), ("0", range(1, 6)), ("-5", range(1, 6)),
        ("Wed, 21 Oct 2065 07:28:00 GMT", range(1, 6)), ("soon", range(1, 6))])
    @pytest.mark.parametrize("status", [429, 503])
    def test_waits_as_long_as_the_gateway_says_within_bounds(self, gateway, proxy, status, given,
                                                             told):
        gateway.script(answer(status, Retry_After=given))
        assert try_again(proxy.write(body_of("up")), told)

    @pytest.mark.parametrize("play", NO_ANSWER.values(), ids=NO_ANSWER.keys())
    def test_is_to_be_sent_again_when_the_gateway(self, gateway, proxy, play):
        gateway.script(*[play] * 7)  # more often than libcurl repeats by itself
        assert try_again(proxy.write(body_of("up")))

    def test_is_to_be_sent_again_when_nobody_listens(self, start_proxy):
        with Port() as port:
            proxy = start_proxy(f"http://127.0.0.1:{port.number}")
            assert try_again(proxy.write(body_of("up")))
            assert proxy.metrics().value("agent_proxy_gateway_requests_total",
                                         outcome="failed") == 1

    def test_is_to_be_sent_again_when_the_gateways_name_is_unknown(self, start_proxy):
        proxy = start_proxy("http://gateway.invalid")
        assert try_again(proxy.write(body_of("up")))

    def test_is_to_be_sent_again_when_the_gateway_hangs(self, gateway, start_proxy):
        proxy = start_proxy(gateway, "--gateway.timeout=1s")
        gateway.script(hang)
        assert try_again(proxy.write(body_of("up")))
        assert accepted(proxy.write(body_of("up")))

    def test_is_accepted_on_a_new_connection_when_the_old_one_is_dead(self, gateway, proxy):
        """The gateway closes an idle connection just as the next request leaves on it."""
        assert accepted(proxy.write(body_of("one")))
        gateway.script(close)
        response = proxy.write(body_of("two"))
        assert response.status in (204, 503)
        assert accepted(proxy.write(body_of("two")))
        assert wire.names(gateway.posts[-1].request) == ["two"]

    def test_an_endless_refusal_is_cut_off(self, gateway, proxy):
        head = b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n"

        def endless(connection):
            connection.sendall(head)
            while True:
                connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")

        gateway.script(endless)
        assert proxy.write(body_of("up")).status in (400, 503)


class TestABatch:
    BODIES = ["a", "b", "c", "d"]

    @pytest.fixture
    def bodies(self):
        return [body_of(name) for name in self.BODIES]

    def batches(self, gateway):
        """The names in each POST, the opener's left out."""
        return [wire.names(post.request) for post in gateway.posts[1:]]

    @pytest.mark.parametrize("status", ACCEPTED)
    def test_is_accepted_as_one(self, gateway, write_together, bodies, status):
        gateway.script(answer(), answer(status))
        assert all(map(accepted, write_together(*bodies)))
        assert self.batches(gateway) == [self.BODIES]

    @pytest.mark.parametrize("status", UNAVAILABLE + MISCONFIGURED)
    def test_is_to_be_sent_again_by_all(self, gateway, write_together, bodies, status):
        gateway.script(answer(), answer(status))
        assert all(map(try_again, write_together(*bodies)))
        assert self.batches(gateway) == [self.BODIES]

    @pytest.mark.parametrize("play", NO_ANSWER.values(), ids=NO_ANSWER.keys())
    def test_is_to_be_sent_again_by_all_when_the_gateway(self, gateway, write_together, bodies,
                                                         play):
        gateway.script(answer(), *[play] * 7)
        assert all(map(try_again, write_together(*bodies)))

    def test_is_to_be_sent_again_by_all_when_the_gateway_hangs(self, gateway, write_together,
                                                               bodies):
        gateway.script(answer(), hang)
        assert all(map(try_again, write_together(*bodies, flags=["--gateway.timeout=1s"])))

    def test_is_to_be_sent_again_by_all_when_nobody_listens_any_more(self, gateway, write_together,
                                                                    bodies):
        def answer_and_go(connection):
            gateway.stop_listening()
            answer(Connection="close")(connection)
            return False

        gateway.script(answer_and_go)
        assert all(map(try_again, write_together(*bodies)))
        assert len(gateway.posts) == 1

    @pytest.mark.parametrize("status", REFUSED)
    def test_one_bad_member_is_refused_alone(self, gateway, write_together, bodies, status):
        """The gateway refuses whatever holds the bad series, as Prometheus does."""
        gateway.on_post = lambda post: (
            answer(status, b"c is out of order") if "c" in wire.names(post.request) else None)

        a, b, c, d = write_together(*bodies)

        assert all(map(accepted, (a, b, d)))
        assert (c.status, c.text.strip()) == (status, "c is out of order")
        batches = self.batches(gateway)
        assert batches[0] == self.BODIES
        stored = [name for batch in batches if "c" not in batch for name in batch]
        assert stored == ["a", "b", "d"]
        assert ["c"] in batches

    def test_a_refused_batch_is_sent_again_in_order_and_each_hears_its_own_verdict(
            self, gateway, write_together, bodies):
        plays = {"a": answer(400, b"a is bad"), "c": answer(422, b"c is worse")}

        def judge(post):
            names = wire.names(post.request)
            return answer(400, b"all of it") if len(names) > 1 else plays.get(names[0])

        gateway.on_post = judge
        a, b, c, d = write_together(*bodies)

        assert (a.status, a.text.strip()) == (400, "a is bad")
        assert accepted(b)
        assert (c.status, c.text.strip()) == (422, "c is worse")
        assert accepted(d)
        assert [batch[0] for batch in self.batches(gateway) if len(batch) == 1] == self.BODIES

    @pytest.mark.parametrize("play, wait_s", [(answer(503, Retry_After=9), [9]),
                                              (answer(401), range(1, 6)), (close, range(1, 6))])
    def test_what_the_gateway_did_not_judge_before_it_failed_is_to_be_sent_again(
            self, gateway, write_together, bodies, play, wait_s):
        """The first two have their verdicts; the gateway fails at the third."""
        plays = {"a": answer(400, b"a is bad"), "b": answer()}
        gateway.on_post = lambda post: (
            answer(400) if len(wire.names(post.request)) > 1
            else None if wire.names(post.request) == ["opener"]
            else plays.get(wire.names(post.request)[0], play))

        a, b, c, d = write_together(*bodies)

        assert (a.status, a.text.strip()) == (400, "a is bad")
        assert accepted(b)
        assert try_again(c, wait_s) and try_again(d, wait_s)

    def test_all_members_may_be_bad(self, gateway, write_together, bodies):
        gateway.on_post = lambda post: (
            None if wire.names(post.request) == ["opener"] else answer(422, b"no"))
        assert [response.status for response in write_together(*bodies)] == [422] * 4

    def test_what_is_sent_again_is_identical(self, gateway, write_together, bodies):
        gateway.on_post = lambda post: (
            answer(409, b"all") if len(wire.names(post.request)) > 1 else None)
        assert all(map(accepted, write_together(*bodies)))
        assert [post.body for post in gateway.posts if len(wire.names(post.request)) == 1][1:] == \
            bodies
