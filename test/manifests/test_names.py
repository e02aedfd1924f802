"""Rules, dashboard and documents name only what there is: metrics and labels of a running program,
flags of its --help, alerts with a runbook. And the rules do what they say, by promtool."""

import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "manifests" / "monitoring"
PROGRAM = os.environ.get("AGENT_PROXY", str(ROOT / "build/release/agent-proxy"))
OTHERS = {"up"}  # of Prometheus itself
TEXT = {".md", ".yaml", ".json", ".8", ".txt", ".tpl", ".service", ".default"}
DOCUMENTS = sorted(path for pattern in ("*.md", "docs/*", "manifests/**/*")
                   for path in ROOT.glob(pattern) if path.suffix in TEXT)
# Flags of other programs that documents name.
OTHER_FLAGS = {"server-side", "force-conflicts", "type", "patch-file", "print", "set", "install",
               "build-arg", "name", "namespace", "read-only", "tail", "rm", "previous",
               "scenarios", "peers", "repeats"}


def load(path):
    loader = importlib.machinery.SourceFileLoader(path.name.replace("-", "_"), str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def series():
    """{name of a series: {label: values}} of a running program."""
    found = {}
    for line in load(ROOT / "test/tools/generate-docs").scrape(PROGRAM).splitlines():
        match = re.match(r"([a-z]\w*)(?:\{(.*)\})?", line)
        if match:
            labels = found.setdefault(match.group(1), {})
            for name, value in re.findall(r'(\w+)="([^"]*)"', match.group(2) or ""):
                labels.setdefault(name, set()).add(value)
    return found


@pytest.fixture(scope="module")
def flags():
    text = subprocess.run([PROGRAM, "--help"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    names = set(re.findall(r"^  --(?:\[no-\])?([\w.-]+)", text, re.MULTILINE))
    return names | {f"no-{name}" for name in re.findall(r"--\[no-\]([\w.-]+)", text)}


def rules():
    text = (MONITORING / "rules.yaml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def dashboard():
    return json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))


def expressions():
    board = dashboard()
    return [rule["expr"] for rule in rules()] + [
        target["expr"] for panel in board["panels"] for target in panel["targets"]] + [
        note["expr"] for note in board["annotations"]["list"]]


def selectors(expression):
    """[(metric, [(label, operator, value)])] of a PromQL expression."""
    return [(name, re.findall(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"', matchers or ""))
            for name, matchers in re.findall(r"\b((?:agent_proxy|process)[\w:]*|up\b)(?:\{([^}]*)\})?",
                                             expression)]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_asks_for_what_there_is(expression, series):
    recorded = {rule.get("record") for rule in rules()}
    found = selectors(expression)
    assert found
    for name, matchers in found:
        if name in recorded | OTHERS:
            continue
        assert name in series, f"{name} is not in /metrics"
        for label, operator, value in matchers:
            if label not in ("job", "instance"):
                assert operator == "=" and value in series[name].get(label, ()), \
                    f"{name} has no {label}={value}"


def test_the_rules_are_the_operators_rules_too():
    [resource] = yaml.safe_load_all((MONITORING / "prometheusrule.yaml").read_text(encoding="utf-8"))
    plain = yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))
    assert resource["spec"] == plain


def test_every_alert_has_a_runbook_and_a_test():
    runbooks = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    tests = (MONITORING / "rules-test.yaml").read_text(encoding="utf-8")
    names = [rule["alert"] for rule in rules() if "alert" in rule]
    assert len(names) >= 8
    for rule in rules():
        if "alert" in rule:
            assert rule["annotations"]["runbook_url"].endswith(f"#{rule['alert'].lower()}")
            assert f"## {rule['alert']}\n" in runbooks
            assert f'alertname="{rule["alert"]}"' in tests
    assert sorted(re.findall(r"^## (AgentProxy\w+)", runbooks, re.MULTILINE)) == sorted(names)


@pytest.mark.parametrize("words", [["check", "rules", "rules.yaml"],
                                   ["test", "rules", "rules-test.yaml"]], ids=" ".join)
def test_promtool_is_content(words):
    if not shutil.which("promtool"):
        pytest.fail("promtool is missing: it comes with Debian's prometheus")
    result = subprocess.run(["promtool", *words], cwd=MONITORING, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout


def test_promtool_can_read_the_dashboard(tmp_path):
    """Its expressions as recording rules, with Grafana's variables filled in."""
    found = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    found += [note["expr"] for note in dashboard()["annotations"]["list"]]
    for variable, text in (("$__rate_interval", "1m"), ("$job", ".*"), ("$instance", ".*")):
        found = [expression.replace(variable, text) for expression in found]
    assert not any("$" in expression for expression in found)
    file = tmp_path / "dashboard.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(found)]}]}), encoding="utf-8")
    result = subprocess.run(["promtool", "check", "rules", file], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout


def test_the_dashboard_is_one_screen():
    board = dashboard()
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    assert max(x for x, _ in taken) < 24
    assert max(y for _, y in taken) < 20  # 1080 pixels less the browser's and Grafana's own
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_what_there_is(path, series, flags):
    text = path.read_text(encoding="utf-8")
    names = set(re.findall(r"\bagent_proxy_\w+(?!\w*:)", text))
    histograms = {name.removesuffix("_bucket") for name in series if name.endswith("_bucket")}
    if path.suffix != ".json" or path.name == "dashboard.json":
        unknown = {name for name in names if name not in series and name not in histograms
                   and not name.endswith("_")}
        assert not unknown
    if path.name == "go-flags.md":
        return  # it speaks of the flags of two programs
    for line in text.splitlines():
        for name in re.findall(r"(?<![\w-])--((?:no-)?[a-z][\w.-]*\w)", line):
            # An arrow with words in it, as diagrams have, is no flag.
            assert name in flags | OTHER_FLAGS or "-->" in line, f"--{name} in: {line.strip()}"
