"""The folders of manifests/: they build, agree with KubeSphere's guide, ask for no privileges, and
their arguments start the program."""

import json
import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

import kustomize

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
PROGRAM = os.environ.get("AGENT_PROXY", str(ROOT / "build/release/agent-proxy"))
NAME = "whizard-monitoring-agent-proxy"
NAMESPACE = "kubesphere-monitoring-system"
LABELS = {"app.kubernetes.io/name": NAME, "component": "whizard"}
RESOURCES = {"limits": {"cpu": "150m", "memory": "300Mi"},
             "requests": {"cpu": "50m", "memory": "100Mi"}}
# Where a copy of the guide may be: its Markdown.
GUIDE = Path(os.environ.get("HOST_MEMBERS_GUIDE",
                            ROOT.parent.joinpath("shared", "seed", "host-members-mode.md")))
FOLDERS = sorted(str(path.parent.relative_to(MANIFESTS))
                 for path in MANIFESTS.rglob("kustomization.yaml")
                 if yaml.safe_load(path.read_text(encoding="utf-8"))["kind"] == "Kustomization")
WITH_PROXY = ["base", "central", "host", "scattered/query", "sidecar", "sidecar/native"]


def key(each):
    return each["apiVersion"], each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]


def built(folder):
    return {key(each): each for each in kustomize.build(MANIFESTS / folder)}


def find(folder, kind, name=NAME):
    [found] = [each for each in kustomize.build(MANIFESTS / folder)
               if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pod_of(folder):
    """(pod-wide settings, the proxy's container) of a folder with a proxy."""
    if folder.startswith("sidecar"):
        spec = find(folder, "Prometheus", "k8s")["spec"]
        containers = spec.get("containers", []) + spec.get("initContainers", [])
    else:
        spec = find(folder, "Deployment")["spec"]["template"]["spec"]
        containers = spec["containers"]
    [container] = [each for each in containers if each["name"] == "agent-proxy"]
    return spec, container


def test_the_folders_are_those_of_the_documents():
    assert {"base", "central", "central/service", "host", "scattered", "scattered/query", "sidecar",
            "sidecar/native", "monitoring"} <= set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_builds(folder):
    objects = kustomize.build(MANIFESTS / folder)
    assert objects
    for each in objects:
        assert each["metadata"]["namespace"] == NAMESPACE
    assert len(built(folder)) == len(objects)


@pytest.mark.parametrize("folder", FOLDERS)
def test_kubectl_builds_the_same(folder):
    command = [["kubectl", "kustomize"], ["kustomize", "build"]]
    command = next((each for each in command if shutil.which(each[0])), None)
    if command is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    text = subprocess.run([*command, str(MANIFESTS / folder)], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout
    assert {key(each): each for each in yaml.safe_load_all(text)} == built(folder)


@pytest.mark.parametrize("folder", ["base", "central", "host", "scattered/query"])
def test_deployment_and_service_are_as_in_the_guide(folder):
    deployment, service = find(folder, "Deployment"), find(folder, "Service")
    template = deployment["spec"]["template"]
    assert deployment["metadata"]["labels"] == LABELS
    assert deployment["spec"]["selector"]["matchLabels"] == LABELS
    assert template["metadata"]["labels"] == LABELS
    assert service["metadata"]["labels"] == LABELS
    assert service["spec"]["selector"] == LABELS
    assert [port["port"] for port in service["spec"]["ports"]] == [9090]
    assert find(folder, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == LABELS
    monitor = find(folder, "ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]


def guide_objects():
    """{key: object} of the YAML in the guide, and the JSON of its patches."""
    if not GUIDE.is_file():
        pytest.skip("there is no copy of the guide here")
    text = GUIDE.read_text(encoding="utf-8")
    objects = {}
    for block in re.findall(r"cat <<EOF \| kubectl apply -f -\n(.*?)\n *EOF", text, re.DOTALL):
        for part in re.split(r"^---$", block, flags=re.MULTILINE):
            each = yaml.safe_load(textwrap.dedent(part.strip("\n")))
            objects[key(each)] = each
    patches = [json.loads(each) for each in re.findall(r"--patch='(\{.*?\})'", text)]
    return objects, patches


def differences(ours, theirs, path=""):
    """Where theirs is not a part of ours; values that stand for the reader's own do not count."""
    if isinstance(theirs, dict):
        return [line for name in theirs for line in
                (differences(ours[name], theirs[name], f"{path}.{name}")
                 if isinstance(ours, dict) and name in ours else [f"{path}.{name} is missing"])]
    if isinstance(theirs, list):
        return [line for number, each in enumerate(theirs) for line in
                (differences(ours[number], each, f"{path}.{number}")
                 if number < len(ours) else [f"{path}.{number} is missing"])]
    own = isinstance(theirs, str) and re.search(r"<[\w_-]+>|xxxx|qingstor", theirs)
    return [] if own or ours == theirs else [f"{path}: {ours!r} instead of {theirs!r}"]


def test_every_object_of_the_guide_is_there():
    objects, _ = guide_objects()
    ours = built("central") | built("central/service") | built("scattered/query")
    assert len(objects) >= 6
    for name, theirs in objects.items():
        mine = ours[name]
        if name[1] == "Secret":
            assert set(mine["stringData"]) == set(theirs["data"])
            theirs = {**theirs, "data": {}}
            mine = {**mine, "data": {}}
        if (name[1], name[3]) == ("Service", "scattered"):
            theirs["spec"]["query"]["stores"][0]["addresses"][1] = "<any>"
        assert differences(mine, theirs) == [], name


def test_the_patches_of_the_guide_are_there():
    _, patches = guide_objects()
    scattered, central = [find(folder, "Prometheus", "k8s") for folder in ("scattered", "central")]
    assert differences(scattered, patches[0]) == []
    assert differences(central, patches[1]) == []


@pytest.mark.parametrize("folder", WITH_PROXY)
def test_the_pod_asks_for_no_privileges(folder):
    spec, container = pod_of(folder)
    security = {**(spec.get("securityContext") or {}), **container["securityContext"]}
    assert security == {
        "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "privileged": False,
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["resources"] == RESOURCES


@pytest.mark.parametrize("folder", ["base", "central", "host", "scattered/query"])
def test_probes_ask_over_http(folder):
    _, container = pod_of(folder)
    for probe, path in (("readinessProbe", "/-/ready"), ("livenessProbe", "/-/healthy")):
        assert container[probe]["httpGet"] == {"path": path, "port": 9090}
    assert container["ports"] == [{"name": "http", "containerPort": 9090, "protocol": "TCP"}]


@pytest.mark.parametrize("folder", ["sidecar", "sidecar/native"])
def test_the_sidecar_stays_on_loopback(folder):
    _, container = pod_of(folder)
    spec = find(folder, "Prometheus", "k8s")["spec"]
    assert "--http-address=127.0.0.1:9095" in container["args"]
    assert spec["remoteWrite"] == [{"url": "http://127.0.0.1:9095/api/v1/receive"}]
    commands = [probe["exec"]["command"] for name, probe in container.items()
                if name.endswith("Probe")]
    assert sorted(commands) == [["/agent-proxy", f"--probe=http://127.0.0.1:9095/-/{path}"]
                                for path in ("healthy", "ready")]


@pytest.mark.parametrize("folder", ["central", "sidecar", "sidecar/native"])
def test_name_and_gateway_are_set_in_one_place(folder, tmp_path):
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    place = tmp_path / "manifests" / folder / "settings.yaml"
    text = place.read_text(encoding="utf-8")
    place.write_text(text.replace("member-1", "berlin")
                     .replace("http://gateway.example:30990", "https://gw.test/base"),
                     encoding="utf-8")
    text = yaml.safe_dump_all(kustomize.build(tmp_path / "manifests" / folder))
    assert "--tenant=berlin" in text and "--gateway.address=https://gw.test/base" in text
    assert "member-1" not in text and "gateway.example" not in text


@pytest.mark.parametrize("folder", WITH_PROXY)
def test_the_arguments_are_understood(folder):
    _, container = pod_of(folder)
    result = subprocess.run([PROGRAM, *container["args"], "--config.check"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("folder", WITH_PROXY)
def test_the_arguments_start_the_program(folder):
    """As printed, but for the port, which may be taken here."""
    _, container = pod_of(folder)
    proxy = subprocess.Popen(
        [PROGRAM, *container["args"], "--http-address=127.0.0.1:0", "--shutdown-delay=0s"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert any("agent-proxy started" in line for line in proxy.stderr)
    finally:
        proxy.terminate()
        proxy.stderr.close()
        assert proxy.wait(10) == 0


@pytest.mark.parametrize("folder", ["base", "sidecar"])
def test_there_is_time_to_end(folder):
    """Kubernetes waits longer than the program takes at most."""
    spec, container = pod_of(folder)
    text = subprocess.run([PROGRAM, *container["args"], "--config.check"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    spans = dict(re.findall(r"^(shutdown-delay|http-grace-period): (\S+)", text, re.MULTILINE))
    seconds = sum(int(number) * {"s": 1, "m": 60}[unit]
                  for span in spans.values() for number, unit in re.findall(r"(\d+)([ms])", span))
    given = spec.get("terminationGracePeriodSeconds", 600)  # 600: the operator's for Prometheus
    assert seconds < given


KUBESPHERE_CONFIG = """\
authentication:
  jwtSecret: "a"
monitoring:
  endpoint: http://prometheus-operated.kubesphere-monitoring-system.svc:9090
  enableGPUMonitoring: false
logging:
  endpoint: http://logs:9200
"""


def ks_apiserver_endpoint(tmp_path, config, *words):
    """Run the script with a kubectl that plays back the configuration and notes what it is told."""
    (tmp_path / "config").write_text(config)
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"""#!/bin/sh
case "$*" in
*get*) cat {tmp_path}/config ;;
*patch*) for word; do case $word in --patch-file=*) cat "${{word#*=}}" >{tmp_path}/patch ;; esac; done ;;
*) echo "$*" >>{tmp_path}/other ;;
esac
""")
    kubectl.chmod(0o755)
    return subprocess.run([MANIFESTS / "ks-apiserver-endpoint", *words], text=True,
                          env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("config", [
    KUBESPHERE_CONFIG,
    KUBESPHERE_CONFIG.replace("  endpoint: http://prometheus-operated."
                              "kubesphere-monitoring-system.svc:9090\n", ""),
    "monitoring:\n  enableGPUMonitoring: false\n",
], ids=["there", "missing", "last"])
def test_ks_apiserver_is_pointed_at_the_proxy(tmp_path, config):
    result = ks_apiserver_endpoint(tmp_path, config)
    assert result.returncode == 0, result.stderr
    patch = yaml.safe_load((tmp_path / "patch").read_text())
    wanted = yaml.safe_load(config)
    wanted["monitoring"]["endpoint"] = f"http://{NAME}.{NAMESPACE}.svc:9090"
    assert yaml.safe_load(patch["data"]["kubesphere.yaml"]) == wanted
    assert "rollout restart deployment ks-apiserver" in (tmp_path / "other").read_text()


def test_ks_apiserver_is_left_alone_when_all_is_said(tmp_path):
    url = "http://prometheus-operated.kubesphere-monitoring-system.svc:9090"
    result = ks_apiserver_endpoint(tmp_path, KUBESPHERE_CONFIG, url)
    assert result.returncode == 0 and "already" in result.stdout
    assert not (tmp_path / "patch").exists() and not (tmp_path / "other").exists()


def test_ks_apiserver_without_monitoring_is_an_error(tmp_path):
    result = ks_apiserver_endpoint(tmp_path, "logging: {}\n")
    assert result.returncode == 1 and "monitoring" in result.stderr
    assert not (tmp_path / "patch").exists()
