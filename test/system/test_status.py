"""The status page and the numbers behind it; in a browser where one is installed (the packages of
`test/tools/install-packages browser`)."""

import json
import re
import shutil
import threading
import time

import pytest

from harness import wire
from harness.gateway import answer
from harness.process import run
from harness.waiting import until

BROWSER = shutil.which("chromium")
# No word to anybody but the page, and nothing of it stays behind.
BROWSER_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync"]
EVIL = b"<script>document.title='taken over'</script><img src=x onerror=\"document.title='too'\">"


@pytest.fixture
def body():
    return wire.body(wire.series("up", 1.0))


def status_of(proxy):
    response = proxy.get("/-/status.json")
    assert (response.status, response.headers.get("Content-Type")) == (200, "application/json")
    return json.loads(response.body)


class Browser:
    def __init__(self, directory):
        self.directory = directory
        self.count = 0

    def dom(self, url, ms):
        """The page as it stands after so many ms of its own time."""
        self.count += 1
        result = run([BROWSER, *BROWSER_FLAGS, f"--user-data-dir={self.directory / str(self.count)}",
                      f"--virtual-time-budget={ms}", "--dump-dom", url], timeout_s=60)
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture
def browser(tmp_path):
    if BROWSER is None:
        pytest.skip("no chromium: test/tools/install-packages browser")
    return Browser(tmp_path)


def text_of(dom, name):
    """The text of the element with this id, or of the number of this series."""
    match = re.search(rf'(?:id|data-series)="{name}"[^>]*>([^<]*)<', dom)
    assert match, f"{name} is not in {dom}"
    return match.group(1)


# -- Without a browser ---------------------------------------------------------------------------


def test_the_page_is_whole_and_shut_off(proxy):
    response = proxy.get("/")
    assert response.status == 200
    assert response.headers.get("Content-Type") == "text/html; charset=utf-8"
    assert response.headers.get("Content-Security-Policy").startswith("default-src 'none'; ")
    assert response.headers.get("X-Content-Type-Options") == "nosniff"
    assert response.text.startswith("<!doctype html>") and response.text.endswith("</html>\n")
    # Nothing is loaded, and nothing of the proxy is written as HTML.
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", response.text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", response.text)
    assert proxy.get("/", method="HEAD").status == 200
    assert proxy.get("/", method="POST").status == 405


def test_the_numbers_are_those_of_the_metrics(gateway, proxy, body):
    assert status_of(proxy)["gateway"]["state"] == "unknown"
    for _ in range(3):
        assert proxy.write(body).status == 204
    gateway.script(answer(400, b"no"))
    assert proxy.write(body).status == 400
    assert proxy.get("/nowhere").status == 404
    status = status_of(proxy)
    assert status["tenant"] == "member-1"
    assert status["gateway"] == {"address": gateway.url, "read_address": gateway.url, "error": "",
                                 "error_age_s": None, "good_age_s": 0, "state": "answering"}
    totals = status["totals"]
    assert (totals["samples"], totals["requests"], totals["batches"]) == (3, 4, 4)
    assert (totals["refused"], totals["put_off"], totals["answers"]) == (2, 0, 4)
    assert 0 < status["memory"]["budget"] < status["memory"]["ceiling"]


def test_trouble_is_told_and_kept(gateway, start_proxy, body):
    proxy = start_proxy(gateway, "--log.level=error")
    gateway.script(answer(503, EVIL), answer(404, EVIL))
    assert proxy.write(body).status == 503
    status = status_of(proxy)
    assert status["gateway"]["state"] == "unavailable"
    assert status["gateway"]["error"] == "answered 503: " + EVIL.decode()
    assert proxy.write(body).status == 503
    status = status_of(proxy)
    assert status["gateway"]["state"] == "misconfigured"
    assert [event["level"] for event in status["events"]] == ["error", "warn"]
    assert status["events"][0]["answer"] == EVIL.decode()
    assert proxy.write(body).status == 204
    assert status_of(proxy)["gateway"]["state"] == "answering"


def test_history_grows_by_itself(gateway, proxy, body):
    assert proxy.write(body).status == 204
    until(lambda: len(status_of(proxy)["history"]["samples"]) >= 1, "an interval is over",
          timeout_s=15)
    history = status_of(proxy)["history"]
    assert history["samples"][0] == pytest.approx(1 / 5, rel=0.2)
    assert history["answer_ms"][0] > 0


def test_it_can_be_turned_off(gateway, start_proxy, body):
    proxy = start_proxy(gateway, "--web.disable")
    assert proxy.get("/").status == 404
    assert proxy.get("/-/status.json").status == 404
    assert proxy.get("/-/healthy").status == 200
    assert proxy.write(body).status == 204


# -- In a browser --------------------------------------------------------------------------------


def test_a_browser_shows_moving_numbers(gateway, proxy, body, browser):
    stop = threading.Event()

    def load():
        with proxy.client() as client:
            while not stop.is_set():
                assert client.write(body).status == 204
                time.sleep(0.005)

    sender = threading.Thread(target=load)
    sender.start()
    try:
        until(lambda: status_of(proxy)["history"]["samples"], "an interval is over", timeout_s=15)
        first = browser.dom(proxy.url + "/", 5000)
        shown = len(status_of(proxy)["history"]["samples"])  # a slow browser takes intervals
        until(lambda: len(status_of(proxy)["history"]["samples"]) > shown, "another is",
              timeout_s=15)
        second = browser.dom(proxy.url + "/", 5000)
    finally:
        stop.set()
        sender.join()
    for dom in (first, second):
        assert text_of(dom, "state") == "answering"
        assert text_of(dom, "tenant") == "member-1"
        assert text_of(dom, "address") == gateway.url
    paths = [re.findall(r'<path class="first" d="(M[^"]+)"', dom) for dom in (first, second)]
    assert len(paths[0]) == 6 and paths[0] != paths[1]
    assert text_of(first, "samples") != "0"


def test_a_browser_takes_words_of_the_gateway_for_text(gateway, proxy, body, browser):
    gateway.script(answer(404, EVIL))
    assert proxy.write(body).status == 503
    dom = browser.dom(proxy.url + "/", 3000)
    assert text_of(dom, "state") == "does not take our writes"
    assert "<title>member-1 · agent-proxy</title>" in dom
    assert "&lt;script&gt;document.title" in dom and "<img" not in dom
