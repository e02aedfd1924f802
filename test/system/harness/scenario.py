"""Scenarios: one file each, in scenarios/*.toml, whose README says how to write one. This reads
them and runs them: proxy, gateway and senders, then what must be true of each of them."""

import os
import re
import resource
import shlex
import string
import time
import tomllib
from dataclasses import dataclass, field

from .client import Client
from .fault_gateway import FaultGateway
from .hostile import Sender
from .process import WRAPPER
from .proxy import Proxy
from .stage import LONGEST_S, Failed, Stage

# Tools under which all is slow, and memory and CPU time say nothing.
SLOW = bool(WRAPPER) or os.environ.get("BUILD", "release") != "release"
WORKERS = int(os.environ.get("SYSTEM_WORKERS", "1"))
# Each gets some of the few connections that a scenario has.
MORE_WORKERS = [f"--workers={WORKERS}", "--workers.fill=0"] if WORKERS > 1 else []

JOINED = 4  # requests that share the batch of a joined run
_JOINED_FLAG = "--gateway.max-inflight=1"
_KEYS = {"about", "flags", "gateway", "always", "refuses", "sender", "posts", "metrics", "logs",
         "runs", "cases", "nofile", "cpu_s_max", "memory_mib_max", "one_worker", "nightly",
         "joined", "connections"}


@dataclass
class Scenario:
    """One run of a file: with one of its cases, alone or joined."""

    name: str
    about: str
    joined: bool = False
    nightly: bool = False
    one_worker: bool = False
    flags: list = field(default_factory=list)
    gateway: list = field(default_factory=list)
    always: list = field(default_factory=list)
    refuses: dict = field(default_factory=dict)
    sender: list = field(default_factory=list)
    posts: list = None
    metrics: list = field(default_factory=list)
    logs: list = field(default_factory=list)
    connections: int = None
    nofile: int = 0
    cpu_s_max: float = 0
    memory_mib_max: float = 0


def load(path):
    """All runs of a file."""
    text = tomllib.loads(path.read_text())
    unknown = set(text) - _KEYS
    assert not unknown, f"{path.name}: no such key: {', '.join(sorted(unknown))}"
    runs = text.pop("runs", ["alone"])
    cases = text.pop("cases", {"": {}})
    in_joined = text.pop("joined", {})
    scenarios = []
    for case, values in cases.items():
        values = values if isinstance(values, dict) else {"case": values}
        for run in runs:
            fields = {**text, **(in_joined if run == "joined" else {})}
            name = "-".join(filter(None, [path.stem, case, run if len(runs) > 1 else ""]))
            scenarios.append(Scenario(name=name, joined=run == "joined",
                                      **_fill_in(fields, values)))
    return scenarios


def _fill_in(what, values):
    """Put a case's values in the places of $name; a list of steps in the place of a step."""
    if isinstance(what, str):
        return string.Template(what).safe_substitute(values)
    if isinstance(what, list):
        filled = []
        for one in what:
            steps = values.get(one[1:]) if isinstance(one, str) and one.startswith("$") else None
            filled += steps if isinstance(steps, list) else [_fill_in(one, values)]
        return filled
    if isinstance(what, dict):
        return {key: _fill_in(one, values) for key, one in what.items()}
    return what


def skip_reason(scenario):
    if WORKERS > 1 and scenario.joined:
        return "requests join where one worker has them all"
    if scenario.nightly and not os.environ.get("SYSTEM_NIGHTLY"):
        return "takes minutes: SYSTEM_NIGHTLY=1"
    if scenario.nofile and "valgrind" in WRAPPER:
        return "valgrind itself closes what is accepted beyond the limit of descriptors"
    return None


def run(scenario):
    """Play it. Raises Failed with all that went wrong, the log of the proxy at the end."""
    stage = Stage()
    stage.loose = 10.0 if WRAPPER else 5.0 if SLOW else 1.5
    gateway = FaultGateway(stage, scenario.gateway, scenario.refuses, scenario.always)
    flags = [_patient(flag) for flag in scenario.flags]
    if not scenario.one_worker:
        flags += MORE_WORKERS
    if scenario.joined:
        flags.append(_JOINED_FLAG)
        gateway.script = [_opener_script(), *scenario.gateway]
    stage.proxy = proxy = Proxy(gateway.url, *flags)
    if scenario.nofile:  # at its start it would have made do with as many
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (scenario.nofile, scenario.nofile))
    try:
        _play(scenario, stage)
        _check(scenario, stage, gateway)
        _check_afterwards(stage, gateway)
    except (Failed, OSError) as error:
        stage.fail("scenario", error)
    finally:
        stage.ended = True
        stage.signal("end of the run")
        gateway.close()
    try:
        proxy.finish()
    except AssertionError as error:
        stage.fail("end of the proxy", error)
    if stage.failures:
        raise Failed("\n".join([scenario.about, *stage.failures, "posts: %s" % gateway.posts,
                                "log of the proxy:", proxy.log]))


def _patient(flag):
    """Under a tool like valgrind a timeout of a few seconds ends what is no fault."""
    short = re.fullmatch(r"(--gateway\.timeout)=(\d)s", flag)
    return f"{short[1]}={8 * int(short[2])}s" if WRAPPER and short else flag


def _opener_script():
    """The request that holds the only slot, until the others wait to be joined."""
    return ["read", "signal slot is taken",
            f"until agent_proxy_write_requests_waiting == {1 + JOINED}",
            "answer 200 Connection=close", "close"]


def _senders(scenario, stage):
    if not scenario.joined:
        return [Sender(stage, steps["does"]) for steps in scenario.sender]
    assert len(scenario.sender) == 1, "a joined run multiplies one sender"
    steps = scenario.sender[0]["does"]
    return [Sender(stage, ["write opener -> 204"])] + [
        Sender(stage, ["await slot is taken", *_in_turn(number), *steps], rename=f"_{number}")
        for number in range(JOINED)]


def _in_turn(number):
    """Members join in the order of their numbers, so that a scenario can name the first."""
    return [f"until agent_proxy_write_requests_waiting == {1 + number}"]


def _play(scenario, stage):
    begin = _usage(stage.proxy)
    threads = [sender.start(f"sender {number}")
               for number, sender in enumerate(_senders(scenario, stage))]
    deadline = time.monotonic() + 2 * LONGEST_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            stage.fail("senders", f"not done after {2 * LONGEST_S:g} s")
            break
    cpu_s, memory_mib = (after - before
                         for after, before in zip(_usage(stage.proxy), begin))
    if scenario.cpu_s_max and not SLOW and cpu_s > scenario.cpu_s_max:
        stage.fail("proxy", f"used {cpu_s:.2f} s of CPU, not {scenario.cpu_s_max} at most")
    if scenario.memory_mib_max and not SLOW and memory_mib > scenario.memory_mib_max:
        stage.fail("proxy", f"grew by {memory_mib:.1f} MiB, not {scenario.memory_mib_max} at most")


def _usage(proxy):
    """CPU time in s, and the peak of memory in MiB."""
    with open(f"/proc/{proxy.pid}/status", encoding="ascii") as status:
        peak = re.search(r"VmHWM:\s+(\d+)", status.read())
    if not peak:
        raise Failed("the proxy has ended")
    return proxy.cpu_s(), int(peak[1]) / 1024


def _check(scenario, stage, gateway):
    if scenario.posts is not None and gateway.posts != scenario.posts:
        stage.fail("gateway", f"posts were {gateway.posts}, not {scenario.posts}")
    if scenario.connections not in (None, gateway.connection_count):
        stage.fail("gateway", f"{gateway.connection_count} connections, "
                              f"not {scenario.connections}")
    for comparison in scenario.metrics:
        stage.until(comparison, seconds=10)
    _check_log(scenario.logs, stage)


def _check_log(wanted, stage):
    """Each wanted line comes; each warning and error is wanted."""
    for one in wanted:
        level, words = one.split(" ", 1)
        try:
            stage.proxy.wait_line(rf'\blevel={level} .*msg="?[^"]*{re.escape(words)}', timeout_s=5)
        except AssertionError:
            stage.fail("log", f"no line: {one}")
    wanted = [one.split(" ", 1) for one in wanted]
    lines = [dict(word.partition("=")[::2] for word in _words(line))
             for line in list(stage.proxy.lines) if "level=" in line]
    for line in lines:
        if line["level"] in ("warn", "error") and not any(
                line["level"] == level and words in line["msg"] for level, words in wanted):
            stage.fail("log", f"not foreseen: {line['level']} {line['msg']}")


def _words(line):
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _check_afterwards(stage, gateway):
    """Whatever has happened: the proxy is well, works, and holds nothing any more."""
    gateway.behave()
    deadline = time.monotonic() + LONGEST_S
    while True:
        try:
            with Client(stage.proxy.address, LONGEST_S) as client:
                status = client.write(stage.body("afterwards")).status
        except OSError as error:
            status = error
        if status == 204:
            break
        if time.monotonic() > deadline:
            raise Failed(f"a good write afterwards hears {status}")
        time.sleep(0.1)
    if ["afterwards"] not in gateway.posts:
        raise Failed("A FALSE 2xx: the write afterwards never came to the gateway")
    with Client(stage.proxy.address, LONGEST_S) as client:
        if client.request("GET", "/-/healthy").status != 200:
            raise Failed("not healthy afterwards")
    for gauge in ("agent_proxy_write_requests_waiting", "agent_proxy_gateway_requests_in_flight",
                  "agent_proxy_memory_budget_used_bytes"):
        stage.until(f"{gauge} == 0", seconds=10)
