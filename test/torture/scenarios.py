"""What the program does while its calls fail. Each scenario is a function of a stage; what it may
be answered is judged by the stage, so most of them look at nothing themselves."""

import signal
import time

from stage import READ_BODY, Failure, write_request

from harness import wire
from harness.gateway import close, cut_short, delayed, raw, reset

BEHIND_S = 0.01  # for what was sent to get into the queue


class Scenario:
    """at_start: calls fail from the first on, else once it is ready. proves: at its end the
    program can be asked to take a write. spares: kinds of calls that another scenario covers."""

    def __init__(self, play, flags=(), gateway_url="http://127.0.0.1:%d", at_start=False,
                 proves=True, spares=()):
        self.name = play.__name__
        self.play = play
        self.flags = flags
        self.gateway_url = gateway_url
        self.at_start = at_start
        self.proves = proves
        self.spares = spares


SCENARIOS = []


def scenario(*flags, **options):
    def add(play):
        SCENARIOS.append(Scenario(play, flags, **options))
        return play

    return add


@scenario(at_start=True)
def start_and_stop(stage):
    stage.get("/-/ready")


@scenario("--workers=2", at_start=True, spares=["alloc", "open"])
def start_and_stop_with_two_workers(stage):
    stage.get("/-/ready")


@scenario("--workers=2", "--workers.fill=0")
def writes_by_two_workers(stage):
    for client in [stage.client(), stage.client()]:
        stage.write(client)


@scenario()
def one_write(stage):
    stage.write()


@scenario()
def writes_on_one_connection(stage):
    client = stage.client()
    for _ in range(3):
        stage.write(client)


@scenario()
def a_large_write(stage):
    stage.write(samples=20000)


@scenario()
def a_chunked_write(stage):
    stage.write(samples=2000, chunk_bytes=700)


def write_at_once(stage, count, poison=()):
    """One write is at the gateway, the others queue behind it. Names of `poison` are refused."""
    names = [stage.new_name() for _ in range(count)]
    stage.refuse_with = {names[number].encode() + b"\x12": 400 for number in poison}
    clients = [stage.client() for _ in names]
    with stage.gateway.holding():
        for number, (client, name) in enumerate(zip(clients, names)):
            stage.begin_write(client, name)
            if number == 0:
                time.sleep(BEHIND_S)
        time.sleep(BEHIND_S)
    return [stage.end_write(client, name) for client, name in zip(clients, names)]


@scenario("--gateway.max-inflight=1")
def joined_writes(stage):
    write_at_once(stage, 5)


@scenario("--gateway.max-inflight=1")
def joined_writes_one_refused(stage):
    statuses = write_at_once(stage, 5, poison=[3])
    if statuses[3] in (200, 204):
        raise Failure("what the gateway refuses was acknowledged")


@scenario("--gateway.max-inflight=1", "--batch.max-requests=2", "--batch.linger=5ms")
def batches_that_are_full(stage):
    write_at_once(stage, 6)


@scenario()
def bad_writes(stage):
    client = stage.client()
    stage.write(client, body=b"rubbish")
    stage.write(client, body=wire.literal_block(b"rubbish"))
    stage.write(client, body=b"\xff\xff\xff\xff\x0f" + b"x" * 100)
    stage.get("/nowhere", client)
    stage.get("/api/v1/%2e%2e/write")


@scenario()
def a_sender_that_leaves(stage):
    client = stage.client()
    name = stage.new_name()
    with stage.gateway.holding():
        stage.begin_write(client, name)
        time.sleep(BEHIND_S)
        if client:
            client.close()
    client = stage.client()
    if client:
        body = write_request(stage.new_name())
        stage._try(client.send, client.head("POST", "/api/v1/write", {
            "Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
            "Content-Length": str(len(body))}) + b"half")
        # An end that comes together with bytes is not seen by libmicrohttpd, whose epoll is
        # edge-triggered: such a connection lasts until its body is overdue.
        time.sleep(BEHIND_S)
        client.close()


@scenario()
def a_gateway_that_breaks(stage):
    stage.gateway.script(close, reset, cut_short(), raw(b"rubbish\r\n\r\n"))
    for _ in range(5):
        stage.write()


@scenario("--gateway.timeout=100ms")
def a_gateway_that_is_late(stage):
    """Its answer comes when the attempt is over, on a connection that is used no more."""
    stage.gateway.script(delayed(raw(b"HTTP/1.1 204 Late\r\n\r\n", keep=True), 0.15))
    stage.write()
    stage.write()


@scenario(gateway_url="http://127.0.0.1:1/%d", proves=False)
def no_gateway(stage):
    stage.write()


@scenario(gateway_url="http://localhost:%d")
def a_gateway_with_a_name(stage):
    stage.write()


def read(stage, method="GET", body=None):
    response = stage.get("/api/v1/query?query=up", method=method, body=body)
    if response and response.status == 200 and response.body != READ_BODY:
        raise Failure("a read was answered 200 with other bytes than the gateway's")


@scenario()
def one_read(stage):
    read(stage)


@scenario("--reads.window-bytes=64KiB")
def reads_by_post(stage):
    read(stage, "POST", b"query=up")
    read(stage, "POST", b"query=up")


@scenario()
def operators_pages(stage):
    client = stage.client()
    for target in ("/metrics", "/-/healthy", "/-/ready"):
        stage.get(target, client)
    stage.get("/metrics", method="HEAD")


@scenario("--gateway.max-inflight=1", proves=False)
def stop_with_writes_under_way(stage):
    names = [stage.new_name() for _ in range(3)]
    clients = [stage.client() for _ in names]
    with stage.gateway.holding():
        for client, name in zip(clients, names):
            stage.begin_write(client, name)
        time.sleep(BEHIND_S)
        stage.signal(signal.SIGTERM)
        time.sleep(BEHIND_S)
    for client, name in zip(clients, names):
        stage.end_write(client, name)


@scenario("--gateway.max-inflight=1", "--http-grace-period=100ms", proves=False)
def stop_that_does_not_wait(stage):
    names = [stage.new_name() for _ in range(3)]
    clients = [stage.client() for _ in names]
    with stage.gateway.holding():
        for client, name in zip(clients, names):
            stage.begin_write(client, name)
        time.sleep(BEHIND_S)
        stage.signal(signal.SIGTERM)
        for client, name in zip(clients, names):
            stage.end_write(client, name)
