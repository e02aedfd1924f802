#!/usr/bin/python3
"""Check the tools of bench/ against each other: every count that a benchmark or a test relies on.

smoke_compare.py has the checks of the comparison itself.

Prints a line for each check and "N passed, N failed" at the end.
"""

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import harness
import smoke_compare

PATH = "/member-1/api/v1/receive"


class Run:
    """What a check works with: the build, a folder of its own and short forms."""

    def __init__(self, build, folder):
        self.build = build
        self.folder = folder

    def sink(self, *options):
        return harness.Sink(self.build, self.folder, *options)

    def load(self, address, *options, on_mark=None):
        url = f"http://{address}{PATH}"
        return harness.run_loadgen(self.build, url, *options, on_mark=on_mark)


def expect(what, got, wanted):
    """Raise unless the two are equal."""
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, want {wanted!r}")


def expect_items(got, **wanted):
    """Raise unless each named item of a dictionary has its value."""
    for key, value in wanted.items():
        expect(key, got[key], value)


def stored(sink):
    """What the sink holds: copies by (sender, sequence)."""
    lines = (line.split() for line in sink.get("/stored").splitlines())
    return {(int(sender), int(sequence)): int(copies) for sender, sequence, copies in lines}


def check_every_sample_of_unique_requests(run):
    with run.sink("--verify") as sink:
        code, report = run.load(
            sink.address, "--unique", "--connections=5", "--requests=7", "--series=300"
        )
        expect("exit code", code, 0)
        expect_items(
            report,
            requests=35,
            acknowledged=35,
            status={"204": 35},
            samples_sent=10500,
            samples_acknowledged=10500,
            connects=5,
        )
        expect_items(
            sink.stats(),
            posts=35,
            accepted=35,
            series=10500,
            samples=10500,
            altered=0,
            foreign=0,
            partial=0,
            requests_complete=35,
            duplicates=0,
            order_violations=0,
            bytes=report["bytes_sent"],
        )
        expect("stored", stored(sink), {(s, q): 1 for s in range(5) for q in range(7)})


def check_prepared_requests_repeat(run):
    with run.sink("--verify") as sink:
        code, report = run.load(sink.address, "--connections=3", "--requests=10", "--series=20")
        expect("exit code", code, 0)
        stats = sink.stats()
        expect_items(stats, samples=600, altered=0, requests_complete=12, order_violations=0)
        expect("duplicates", stats["duplicates"], report["acknowledged"] - 12)


def check_sizes_of_kubernetes_shape(run):
    with run.sink("--verify") as sink:
        _, report = run.load(sink.address, "--requests=1", "--series=2000")
        if not 240_000 < report["bytes_sent"] < 300_000:
            raise AssertionError(f"2,000 series are {report['bytes_sent']} bytes")
        _, again = run.load(sink.address, "--requests=1", "--series=2000")
        expect("same seed, same bytes", again["bytes_sent"], report["bytes_sent"])
        run.load(sink.address, "--requests=1", "--series=10000", "--seed=7")
        expect_items(sink.stats(), samples=14000, altered=0, partial=0)


def check_errors_are_retried_until_acknowledged(run):
    acks = run.folder / "acks"
    with run.sink("--verify", "--error-every=3", "--drop-every=5") as sink:
        code, report = run.load(
            sink.address,
            "--unique",
            "--connections=4",
            "--requests=25",
            "--series=50",
            "--retry",
            "--retry-max-wait=5",
            f"--ack-log={acks}",
        )
        expect("exit code", code, 0)
        expect_items(report, acknowledged=100, refused=0, unanswered=0)
        stats = sink.stats()
        expect("503s", report["status"].get("503"), stats["posts"] // 3)
        # A POST whose answer was lost had been stored: it is there twice.
        expect_items(stats, requests_complete=100, altered=0, order_violations=0)
        expect("duplicates", stats["duplicates"], report["connection_errors"])
        answers = [line.split() for line in acks.read_text().splitlines()]
        expect("acknowledgements", len(answers), 100)
        expect(
            "acknowledged and stored",
            {(int(s), int(q)) for s, q, status in answers if status == "204"},
            set(stored(sink)),
        )


def check_errors_are_final_without_retry(run):
    with run.sink("--verify", "--status=503", "--retry-after=7") as sink:
        code, report = run.load(sink.address, "--requests=4", "--series=20")
        expect("exit code", code, 1)
        expect_items(report, acknowledged=0, refused=4, status={"503": 4})
        expect("first_refusal", report["first_refusal"], "503 the sink says so\n")
        expect_items(sink.stats(), posts=4, errors=4, samples=0, requests_complete=0)


def check_poison_refuses_the_whole_post(run):
    with run.sink("--verify", "--poison-sender=2") as sink:
        code, report = run.load(
            sink.address, "--unique", "--connections=4", "--requests=5", "--series=20"
        )
        expect("exit code", code, 1)
        expect_items(report, acknowledged=15, refused=5, status={"204": 15, "400": 5})
        expect_items(sink.stats(), poisoned=5, requests_complete=15, samples=300)


def check_path_and_header_are_expected(run):
    wanted = ("--expect-path=" + PATH, "--expect-header=WHIZARD-TENANT: member-1")
    with run.sink("--verify", *wanted) as sink:
        code, report = run.load(sink.address, "--requests=1", "--series=20")
        expect("without the header", (code, report["status"]), (1, {"403": 1}))
        code, _ = run.load(
            sink.address, "--requests=1", "--series=20", "--header=Whizard-Tenant: member-1"
        )
        expect("with the header", code, 0)
        code, report = harness.run_loadgen(
            run.build, f"http://{sink.address}/api/v1/receive", "--requests=1", "--series=20"
        )
        expect("other path", (code, report["status"]), (1, {"404": 1}))
        expect_items(sink.stats(), bad_path=1, bad_header=1, requests_complete=1)


def check_journal_survives_a_kill(run):
    journal = run.folder / "journal"
    port = harness.free_port()
    options = ("--verify", f"--journal={journal}", f"--listen=127.0.0.1:{port}", "--delay-ms=2")
    load = subprocess.Popen(
        [
            harness.tool(run.build, "loadgen"),
            f"--url=http://127.0.0.1:{port}{PATH}",
            "--unique",
            "--connections=4",
            "--requests=150",
            "--series=20",
            "--retry",
            "--retry-max-wait=20",
            "--deadline=30",
            f"--ack-log={run.folder / 'acks'}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(3):
        sink = run.sink(*options)
        time.sleep(0.15)
        sink.stop(signal.SIGKILL)
    with journal.open("a") as cut:
        cut.write("3 9")  # a line that a kill has cut
    with run.sink(*options) as sink:
        report = json.loads(load.communicate(timeout=40)[0])
        expect_items(report, acknowledged=600, unanswered=0)
        expect_items(sink.stats(), requests_complete=600, order_violations=0, altered=0)
        expect("stored", set(stored(sink)), {(s, q) for s in range(4) for q in range(150)})
        if report["connection_errors"] == 0:
            raise AssertionError("the kills were not noticed: the check shows nothing")


def check_open_loop_keeps_its_rate(run):
    with run.sink() as sink:
        code, report = run.load(
            sink.address, "--connections=4", "--seconds=1", "--rate=200", "--series=20"
        )
        expect("exit code", code, 0)
        expect("requests", report["requests"], 200)


def check_a_warm_up_counts_for_nothing(run):
    posts = []
    with run.sink("--verify") as sink:
        code, report = run.load(
            sink.address,
            "--connections=4",
            "--series=20",
            "--rate=200",
            "--warm-up=0.5",
            "--seconds=1",
            on_mark=lambda _: posts.append(sink.stats()["posts"]),
        )
        expect("exit code", code, 0)
        expect_items(sink.stats(), posts=300, samples=6000)
    # 100 are due before, 200 after; a busy machine may be late with a few.
    warm, end = posts
    expect(f"{warm} posts in the warm-up", 95 <= warm < 200, True)
    expect("posts in the end", end, 300)
    expect(f"{report['requests']} requests told", 150 <= report["requests"] <= 205, True)
    expect("samples told", report["samples_acknowledged"], 20 * report["requests"])
    expect("connects told", report["connects"], 0)


def check_a_closed_loop_is_counted_in_full_flow(run):
    log = run.folder / "acks"
    answered = []
    with run.sink("--delay-ms=400") as sink:  # answers after 0.4, 0.8, 1.2 and 1.6 s
        code, report = run.load(
            sink.address,
            "--connections=16",
            "--series=20",
            "--warm-up=0.6",
            "--seconds=0.8",
            f"--ack-log={log}",
            on_mark=lambda _: answered.append(log.read_text().count("\n")),
        )
    expect("exit code", code, 0)
    warm, told = answered
    expect("answers", (warm, told), (16, 48))
    expect("requests told", report["requests"], 32)
    expect("under way then, and answered", log.read_text().count("\n") - told, 16)


def check_open_loop_latency_counts_from_the_schedule(run):
    # One connection and 100 ms an answer carry 10 requests/s; at 20 a second they queue up.
    with run.sink("--delay-ms=100") as sink:
        _, report = run.load(sink.address, "--seconds=1", "--rate=20", "--series=20")
        expect("requests", report["requests"], 20)
        if not 900_000 < report["latency_us"]["max"] < 3_000_000:
            raise AssertionError(f"latency {report['latency_us']}")


def check_stop_by_signal_finishes_what_is_under_way(run):
    with run.sink("--verify", "--delay-ms=100") as sink:
        load = subprocess.Popen(
            [
                harness.tool(run.build, "loadgen"),
                f"--url=http://{sink.address}{PATH}",
                "--unique",
                "--connections=3",
                "--seconds=30",
                "--series=20",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        time.sleep(0.45)
        load.terminate()
        report = json.loads(load.communicate(timeout=10)[0])
        expect("exit code", load.returncode, 0)
        expect("unanswered", report["unanswered"], 0)
        stats = sink.stats()
        expect_items(stats, requests_complete=report["acknowledged"], posts=report["requests"])


def check_captured_bodies_are_sent_as_they_are(run):
    # Two blocks: an empty WriteRequest, and one that cannot be decoded.
    bodies = run.folder / "bodies"
    bodies.mkdir()
    (bodies / "a").write_bytes(b"\x00")
    (bodies / "b").write_bytes(b"\xff\xff\xff\xff\xff\xff")
    with run.sink("--verify") as sink:
        _, report = run.load(sink.address, f"--bodies={bodies}", "--requests=4")
        expect_items(report, status={"204": 2, "400": 2}, samples_sent=0)
        expect_items(sink.stats(), undecodable=2, samples=0, bytes=14)


def check_sink_takes_requests_in_any_split(run):
    body = b"\x00"
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
        "Content-Encoding: snappy\r\n"
    ).encode()
    by_length = head + b"Content-Length: 1\r\n\r\n" + body
    chunks = b"1;x=y\r\n" + body + b"\r\n0\r\nA: b\r\n\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    for options in (("--verify",), (), ("--delay-ms=1",)):
        with run.sink(*options) as sink:
            host, port = sink.address.split(":")
            with socket.create_connection((host, int(port)), timeout=5) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for message in (by_length, chunked):
                    for byte in message:
                        client.sendall(bytes([byte]))
                    expect("answer", client.recv(100)[:12], b"HTTP/1.1 204")
                client.sendall(by_length + chunked + by_length)
                answers = b""
                while answers.count(b"204 No Content\r\n\r\n") < 3:
                    answers += client.recv(1000) or b"HTTP/1.1 204 No Content\r\n\r\n" * 9
                expect("answers in one go", answers, b"HTTP/1.1 204 No Content\r\n\r\n" * 3)
            expect_items(sink.stats(), posts=5, bytes=5, undecodable=0)


def check_altered_samples_are_noticed(run):
    # One series with the marks of the load generator, and a value that is not its own.
    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    def label(name, value):
        return field(1, field(1, name) + field(2, value))

    series = label(b"__name__", b"up") + label(b"part", b"0/1") + label(b"sender", b"0000")
    sample = b"\x09" + bytes(8) + b"\x10\x80\xd0\x95\xff\xbc\x31"
    request = field(1, series + field(2, sample))
    bodies = run.folder / "altered"
    bodies.mkdir()
    literal = bytes([len(request), 60 << 2, len(request) - 1]) + request
    (bodies / "a").write_bytes(literal)
    with run.sink("--verify") as sink:
        run.load(sink.address, f"--bodies={bodies}", "--requests=1")
        expect_items(sink.stats(), series=1, samples=1, altered=1, requests_complete=0)


def check_wrong_usage_is_code_2(run):
    for name, arguments in (
        ("loadgen", []),
        ("loadgen", ["--url=http://127.0.0.1:1/", "--requests=x"]),
        ("loadgen", ["--nonsense"]),
        ("sink", ["--status=1"]),
        ("floor", []),
    ):
        done = subprocess.run(
            [harness.tool(run.build, name), *arguments], capture_output=True, text=True, check=False
        )
        expect(f"{name} {arguments}", (done.returncode, done.stderr.count("\n")), (2, 1))


def check_floor_relays(run):
    with run.sink("--verify", "--expect-path=" + PATH) as sink:
        command = [harness.tool(run.build, "floor"), f"--upstream=http://{sink.address}{PATH}"]
        with harness.Process(command, run.folder, "floor") as floor:
            address = floor.wait_for_line("listening ")
            code, _ = run.load(
                address, "--unique", "--connections=4", "--requests=10", "--series=2000"
            )
            expect("exit code", code, 0)
            expect_items(sink.stats(), requests_complete=40, altered=0, samples=80000)


def main(build):
    checks = {name[6:]: check for name, check in globals().items() if name.startswith("check_")}
    checks |= smoke_compare.CHECKS
    failed = 0
    for name, check in checks.items():
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="bench-smoke-") as folder:
            try:
                check(Run(build, pathlib.Path(folder)))
                verdict = "ok"
            except Exception as error:  # pylint: disable=broad-except
                failed += 1
                verdict = f"FAILED: {error}"
                if not isinstance(error, (AssertionError, harness.BenchError)):
                    with contextlib.suppress(OSError):
                        traceback.print_exc()
        print(f"{name.replace('_', ' ')}: {verdict} ({time.monotonic() - began:.1f} s)", flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else str(harness.ROOT / "build/release")))
