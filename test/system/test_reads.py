"""Queries through the proxy, answered by a real Prometheus behind a gateway that routes as
Whizard's does: what a client hears is what it would have heard without the proxy."""

import gzip
import json

import pytest

from harness import process, wire
from harness.client import Client
from harness.peers import Prometheus
from harness.proxy import TENANT
from harness.reads import FORM, PrometheusGateway, content, form
from harness.waiting import in_background, results

END_S = wire.now_ms() // 1000
START_S = END_S - 600
STEP_S = 15
GZIP = {"Accept-Encoding": "gzip"}
PLAIN = {}
ENCODINGS = pytest.mark.parametrize("encoding", [GZIP, PLAIN], ids=["gzip", "plain"])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """Ten minutes of 300 series."""
    peer = Prometheus(tmp_path_factory.mktemp("prometheus"))
    try:
        values = range((END_S - START_S) // STEP_S + 1)
        write_directly(peer, [
            wire.series("node_cpu_seconds_total", *(number * 1.5 + at for at in values),
                        start_ms=START_S * 1000, step_ms=STEP_S * 1000, instance=f"node-{number}",
                        cluster=TENANT, mode="idle" if number % 2 else "user")
            for number in range(300)])
        yield peer
    finally:
        peer.close()


def write_directly(peer, series_list):
    with peer.client() as client:
        assert client.write(wire.body(*series_list), path="/api/v1/write").status == 204


@pytest.fixture
def whizard(prometheus):
    with PrometheusGateway(prometheus, TENANT) as gateway:
        yield gateway
    assert not gateway.broken, gateway.broken


@pytest.fixture
def reads_proxy(whizard, start_proxy):
    return start_proxy(whizard)


def instant(number):
    """One of the queries that a page of the console sends."""
    kinds = ["sum by (mode) (rate(node_cpu_seconds_total[{}s]))",
             "topk(5, node_cpu_seconds_total) + {}",
             "node_cpu_seconds_total{{instance=\"node-{}\"}}",
             "count(node_cpu_seconds_total > {})",
             "node_cpu_seconds_total * {}",
             "not a query ({}"]
    query = kinds[number % len(kinds)].format(number + 60)
    return "POST", "/api/v1/query", form(("query", query), ("time", END_S - number))


def over_range(number):
    query = ["node_cpu_seconds_total", "avg(node_cpu_seconds_total)"][number % 2]
    return "POST", "/api/v1/query_range", form(
        ("query", query), ("start", START_S), ("end", END_S), ("step", STEP_S + number))


def by_get(path, *pairs):
    return "GET", path + ("?" + form(*pairs) if pairs else ""), ""


SERIES = [("match[]", 'node_cpu_seconds_total{mode="idle"}'), ("start", START_S), ("end", END_S)]
# What ks-apiserver sends besides its 54 instant queries.
CALLS = [over_range(0), over_range(1), by_get("/api/v1/series", *SERIES),
         by_get("/api/v1/rules", ("type", "alert")), by_get("/api/v1/labels"),
         by_get("/api/v1/label/instance/values")]


def ask(address, call, encoding):
    method, target, body = call
    headers = {"User-Agent": "Go-http-client/1.1", **encoding, **(FORM if body else {})}
    with Client(address) as client:
        return client.request(method, target, headers, body.encode() or None)


@ENCODINGS
def test_a_page_of_the_console(prometheus, whizard, reads_proxy, encoding):
    """54 instant queries at once, the wrong ones among them included."""
    calls = [instant(number) for number in range(54)]
    answers = results([in_background(ask, reads_proxy.address, call, encoding) for call in calls])
    for call, answer in zip(calls, answers):
        assert content(answer) == content(ask(prometheus.address, call, encoding)), call
    assert {answer.status for answer in answers} == {200, 400}
    assert {post.target for post in whizard.posts} == {f"/{TENANT}/api/v1/query"}
    assert sorted(post.body.decode() for post in whizard.posts) == sorted(c[2] for c in calls)


@ENCODINGS
@pytest.mark.parametrize("call", CALLS, ids=[call[1].split("?")[0] for call in CALLS])
def test_each_other_call(prometheus, whizard, reads_proxy, call, encoding):
    answer = ask(reads_proxy.address, call, encoding)
    assert content(answer) == content(ask(prometheus.address, call, encoding))
    assert answer.status == 200
    assert (whizard.posts[-1].method, whizard.posts[-1].target) == (call[0], f"/{TENANT}{call[1]}")


def test_an_encoded_answer_is_relayed_encoded(reads_proxy):
    answer = ask(reads_proxy.address, over_range(0), GZIP)
    assert answer.headers.get("Content-Encoding") == "gzip"
    whole = json.loads(gzip.decompress(answer.body))
    assert len(whole["data"]["result"]) == 300
    plain = ask(reads_proxy.address, over_range(0), PLAIN)
    assert "Content-Encoding" not in plain.headers
    assert json.loads(plain.body) == whole


def test_what_the_gateway_does_not_route_is_its_own_405(whizard, reads_proxy):
    call = by_get("/api/v1/targets/metadata", ("match_target", '{job="x"}'), ("metric", "up"),
                  ("limit", 10))
    answer = ask(reads_proxy.address, call, GZIP)
    assert (answer.status, answer.body) == (405, b"no\n")
    assert whizard.posts[-1].target == f"/{TENANT}{call[1]}"


# Newer clients POST what the gateway routes by GET only.

@pytest.mark.parametrize("path", ["/api/v1/series", "/api/v1/labels"])
def test_a_form_that_fits_goes_on_in_the_address(prometheus, whizard, reads_proxy, path):
    call = ("POST", path, form(*SERIES))
    answer = ask(reads_proxy.address, call, GZIP)
    assert content(answer) == content(ask(prometheus.address, call, GZIP))
    post = whizard.posts[-1]
    assert (post.method, post.target) == ("GET", f"/{TENANT}{path}?{call[2]}")
    assert post.body == b"" and "Content-Type" not in post.headers


def test_a_form_that_does_not_fit_stays_a_form(whizard, reads_proxy):
    """The gateway says 405, and the client then asks by GET, as client libraries do."""
    limit = 8192 - len(f"/{TENANT}/api/v1/series?")
    for size, method, status in ((limit - 1, "GET", 200), (limit, "POST", 405)):
        body = form(*SERIES) + "&match[]=up{a=%22"
        body += "b" * (size - len(body) - len("%22}")) + "%22}"
        answer = ask(reads_proxy.address, ("POST", "/api/v1/series", body), PLAIN)
        post = whizard.posts[-1]
        assert (post.method, answer.status) == (method, status)
        if method == "POST":
            assert post.body == body.encode()
            assert post.headers.get("Content-Type") == FORM["Content-Type"]
            again = ask(reads_proxy.address, by_get("/api/v1/series?" + body), PLAIN)
            assert again.status == 200 and len(json.loads(again.body)["data"]) == 150


@pytest.mark.parametrize("body", ["", "a b", "match[]=a#b"], ids=["empty", "blank", "fragment"])
def test_only_a_form_that_can_stand_in_an_address_goes_there(gateway, proxy, body):
    """And a POST without any arguments is a GET just as well."""
    with proxy.client() as client:
        client.request("POST", "/api/v1/labels?start=1", FORM, body.encode())
    post = gateway.wait_posts(1)[0]
    assert post.target == f"/{TENANT}/api/v1/labels?start=1"
    assert (post.method, post.body) == ("POST" if body else "GET", body.encode())


def test_arguments_of_both_kinds_go_on_together(gateway, proxy):
    with proxy.client() as client:
        client.request("POST", "/api/v1/labels?start=1", FORM, b"end=2&match[]=up")
    assert gateway.wait_posts(1)[0].target == f"/{TENANT}/api/v1/labels?start=1&end=2&match[]=up"


# Clients of the field.

@pytest.mark.parametrize("arguments, expected", [
    (["instant", "--time", str(END_S)], ["count(node_cpu_seconds_total)"]),
    (["range", "--start", str(START_S), "--end", str(END_S), "--step", "60s"],
     ["sum(node_cpu_seconds_total)"]),
    (["series", "--match", 'node_cpu_seconds_total{instance="node-7"}',
      "--start", str(START_S), "--end", str(END_S)], []),
    (["labels", "--start", str(START_S), "--end", str(END_S)], ["instance"]),
], ids=["instant", "range", "series", "labels"])
def test_promtool(prometheus, reads_proxy, arguments, expected):
    kind, *options = arguments
    answers = []
    for server in (reads_proxy.url, prometheus.url):
        answers.append(process.run(["promtool", "query", kind, *options, server, *expected]))
    through, directly = answers
    assert (through.returncode, through.stdout) == (0, directly.stdout), through.stderr
    assert through.stdout.strip()


# The host's own use: a query service without tenants.

def test_reads_elsewhere_without_prefix(gateway, prometheus, start_proxy):
    """Writes go to the gateway under the tenant, reads to a Prometheus as they are."""
    proxy = start_proxy(gateway, f"--gateway.read-address={prometheus.url}",
                        "--gateway.read-path-prefix=false")
    fixed = [by_get("/api/v1/status/buildinfo"), by_get("/api/v1/metadata"),
             by_get("/api/v1/alerts"), by_get("/api/v1/targets"),
             by_get("/api/v1/targets/metadata", ("limit", 3)),
             by_get("/api/v1/format_query", ("query", "up+1")),
             ("POST", "/api/v1/query_exemplars",
              form(("query", "up"), ("start", START_S), ("end", END_S)))]
    for call in CALLS + fixed + [instant(0)]:
        answer = ask(proxy.address, call, GZIP)
        assert content(answer) == content(ask(prometheus.address, call, GZIP)), call
        assert answer.status == 200
    assert proxy.write(wire.body(wire.series("up", 1.0))).status == 204
    assert [post.target for post in gateway.posts] == [f"/{TENANT}/api/v1/receive"]


def test_reads_elsewhere_with_a_base_path_and_the_prefix(gateway, start_proxy):
    proxy = start_proxy("http://127.0.0.1:1", f"--gateway.read-address={gateway.url}/base",
                        "--gateway.read-path-prefix=true", "--no-tenant.path-prefix")
    assert proxy.get("/api/v1/rules").status == 200
    assert gateway.posts[0].target == f"/base/{TENANT}/api/v1/rules"


def test_reads_follow_the_prefix_of_writes(gateway, start_proxy):
    proxy = start_proxy(gateway, "--no-tenant.path-prefix")
    assert proxy.get("/api/v1/rules").status == 200
    assert gateway.posts[0].target == "/api/v1/rules"


@pytest.mark.parametrize("path", ["/api/v1/otlp", "/api/v1/otlp/v1/metrics"])
def test_otlp_is_relayed_as_it_comes(gateway, proxy, path):
    body = bytes(range(256)) * 2000
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    for chunk_bytes in (None, 10_000):
        with proxy.client() as client:
            assert client.request("POST", path, headers, body, chunk_bytes).status == 200
    for post in gateway.wait_posts(2):
        assert (post.method, post.target, post.body) == ("POST", f"/{TENANT}{path}", body)
        assert {name: post.headers.get(name) for name in headers} == headers
