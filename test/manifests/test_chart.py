"""The Helm chart: what it renders to, which values it takes, and that those of Whizard's own chart
are among them. Rendered by helm where it is installed, else by chart.py."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import chart

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "manifests" / "chart"
PROGRAM = os.environ.get("AGENT_PROXY", str(ROOT / "build/release/agent-proxy"))
SCHEMA = json.loads((FOLDER / "values.schema.json").read_text(encoding="utf-8"))
# Each value of Whizard's chart, by its path, with one that differs from its default.
WHIZARD_VALUES = {
    "image.registry": "registry.example", "image.repository": "a/b", "image.pullPolicy": "Always",
    "image.tag": "v1", "imagePullSecrets": [{"name": "secret"}], "nameOverride": "name",
    "namespaceOverride": "space", "fullnameOverride": "full", "global.imageRegistry": "r.example",
    "global.imagePullSecrets": ["other"], "global.clusterInfo.role": "member",
    "global.clusterInfo.name": "berlin", "config.gatewayUrl": "http://gw.test:1",
    "args": ["--log.level=debug"], "serviceAccount.create": True,
    "serviceAccount.annotations": {"a": "b"}, "serviceAccount.name": "account", "replicaCount": 3,
    "podAnnotations": {"note": "1"}, "podSecurityContext": {"fsGroup": 7},
    "securityContext": {"runAsUser": 8}, "service.type": "NodePort", "service.port": 9999,
    "ingress.enabled": True, "ingress.className": "nginx", "ingress.annotations": {"c": "d"},
    "ingress.hosts": [{"host": "h.test", "paths": [{"path": "/", "pathType": "Prefix"}]}],
    "ingress.tls": [{"secretName": "tls", "hosts": ["h.test"]}],
    "resources": {"limits": {"cpu": "2", "memory": "4Gi"}}, "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"operator": "Exists"}], "affinity": {"podAntiAffinity": {}},
}
AUTOSCALING = {"autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 5,
                               "targetCPUUtilizationPercentage": 70,
                               "targetMemoryUtilizationPercentage": 60}}
EVERYTHING = {**AUTOSCALING, "serviceMonitor": {"enabled": True, "labels": {"x": "y"}},
              "ingress": {"enabled": True}, "serviceAccount": {"create": True},
              "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
              "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
              "env": [{"name": "TOKEN", "value": "t"}], "podLabels": {"team": "a"},
              "priorityClassName": "high", "global": {"nodeSelector": {"zone": "1"}},
              "nodeSelector": {"disk": "ssd"}}


def nested(paths):
    out = {}
    for path, value in paths.items():
        *steps, last = path.split(".")
        place = out
        for step in steps:
            place = place.setdefault(step, {})
        place[last] = value
    return out


def render(values=None, tmp_path=None, **named):
    """{kind: object}; by helm too, where it is, to the same result."""
    objects = {each["kind"]: each for each in chart.Chart(FOLDER).objects(values, **named)}
    if shutil.which("helm") and tmp_path:
        (tmp_path / "values.yaml").write_text(yaml.safe_dump(values or {}), encoding="utf-8")
        text = subprocess.run(["helm", "template", named.get("name", "release"), str(FOLDER),
                               "-f", str(tmp_path / "values.yaml")], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
        assert objects == {each["kind"]: each for each in yaml.safe_load_all(text) if each}
    return objects


def container_of(objects):
    [container] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return container


def test_what_is_rendered_by_default(tmp_path):
    objects = render(tmp_path=tmp_path, name="whizard-agent-proxy")
    assert set(objects) == {"Deployment", "Service", "PodDisruptionBudget"}
    container = container_of(objects)
    assert container["resources"] == {"limits": {"cpu": "150m", "memory": "300Mi"},
                                      "requests": {"cpu": "50m", "memory": "100Mi"}}
    assert container["image"] == "docker.io/kubesphere/whizard-monitoring-agent-proxy:latest"
    assert objects["Deployment"]["metadata"]["name"] == "whizard-agent-proxy"


def test_what_is_rendered_with_everything(tmp_path):
    objects = render(EVERYTHING, tmp_path)
    assert set(objects) == {"Deployment", "Service", "PodDisruptionBudget", "ServiceMonitor",
                            "HorizontalPodAutoscaler", "Ingress", "ServiceAccount"}
    spec = objects["Deployment"]["spec"]
    assert "replicas" not in spec
    assert spec["template"]["spec"]["nodeSelector"] == {"zone": "1", "disk": "ssd"}
    assert spec["template"]["spec"]["serviceAccountName"] == "release-whizard-agent-proxy"
    assert [each["resource"]["target"]["averageUtilization"]
            for each in objects["HorizontalPodAutoscaler"]["spec"]["metrics"]] == [70, 60]
    assert objects["ServiceMonitor"]["metadata"]["labels"]["x"] == "y"


def test_the_selectors_find_the_pods(tmp_path):
    objects = render(EVERYTHING, tmp_path)
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for kind, path in (("Deployment", ("selector", "matchLabels")), ("Service", ("selector",)),
                       ("PodDisruptionBudget", ("selector", "matchLabels"))):
        selector = objects[kind]["spec"]
        for step in path:
            selector = selector[step]
        assert selector.items() <= labels.items()
        # A Deployment's selector cannot change: an upgrade from Whizard's chart needs these two.
        assert selector == {"app.kubernetes.io/name": "whizard-agent-proxy",
                            "app.kubernetes.io/instance": "release"}


@pytest.mark.parametrize("path", sorted(WHIZARD_VALUES))
def test_a_value_of_whizards_chart_is_used(path):
    """It is taken by the schema, and what is rendered shows it."""
    values = nested({**{"ingress.enabled": True, "serviceAccount.create": True}, **{path: WHIZARD_VALUES[path]}})
    if path == "global.clusterInfo.role":
        values["config"] = {"gatewayUrl": "http://gw.test:1"}
    if path == "serviceAccount.create":
        values.pop("ingress")
        before = chart.Chart(FOLDER).objects({})
    elif path == "ingress.enabled":
        before = chart.Chart(FOLDER).objects({"serviceAccount": {"create": True}})
    else:
        before = chart.Chart(FOLDER).objects({"ingress": {"enabled": True},
                                              "serviceAccount": {"create": True}})
    assert chart.violations(chart.merged(chart.Chart(FOLDER).values, values), SCHEMA) == []
    assert chart.Chart(FOLDER).objects(values) != before


def test_all_values_of_whizards_chart_together(tmp_path):
    objects = render(nested(WHIZARD_VALUES), tmp_path, name="r")
    container = container_of(objects)
    assert container["args"] == ["--gateway.address=http://gw.test:1", "--tenant=berlin",
                                 "--shutdown-delay=5s", "--log.level=debug"]
    assert container["image"] == "r.example/a/b:v1"
    assert objects["Service"]["spec"]["ports"][0]["port"] == 9999
    assert objects["Deployment"]["spec"]["template"]["spec"]["imagePullSecrets"] == [
        {"name": "other"}, {"name": "secret"}]


@pytest.mark.parametrize("values, gateway, tenant", [
    ({}, "http://gateway-whizard-operated.kubesphere-monitoring-system.svc:9090", "host"),
    ({"global": {"clusterInfo": {"role": "member", "name": "m"}},
      "config": {"gatewayUrl": "http://g:1"}}, "http://g:1", "m"),
    ({"global": {"clusterInfo": {"role": "member", "name": ""}},
      "config": {"gatewayUrl": "http://g:1", "tenant": "t"}}, "http://g:1", "t"),
    ({"config": {"gatewayUrl": "http://g:1"}}, "http://g:1", "host"),
])
def test_gateway_and_tenant(values, gateway, tenant, tmp_path):
    args = container_of(render(values, tmp_path))["args"]
    assert args[:2] == [f"--gateway.address={gateway}", f"--tenant={tenant}"]


@pytest.mark.parametrize("values, words", [
    ({"global": {"clusterInfo": {"role": "member", "name": "m"}}}, "config.gatewayUrl"),
    ({"config": {"tenant": "other"}}, "differ"),
    ({"global": {"clusterInfo": {"name": ""}}}, "config.tenant"),
])
def test_what_cannot_work_is_refused(values, words):
    with pytest.raises(chart.ChartError, match=words):
        chart.Chart(FOLDER).render(values)


@pytest.mark.parametrize("values", [{}, EVERYTHING, nested(WHIZARD_VALUES)],
                         ids=["defaults", "everything", "whizard"])
def test_the_arguments_are_understood(values):
    args = container_of(render(values))["args"]
    result = subprocess.run([PROGRAM, *args, "--config.check"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout


def test_the_schema_knows_every_value():
    """And describes no other: both trees have the same paths."""
    def of_values(value, schema, path=""):
        properties = schema.get("properties")
        if properties is None:
            return set()
        assert set(properties) == set(value), path
        for name in properties:
            of_values(value[name], properties[name], f"{path}.{name}")
        return set()
    of_values(chart.Chart(FOLDER).values, SCHEMA)
    assert chart.violations(chart.Chart(FOLDER).values, SCHEMA) == []


@pytest.mark.parametrize("values, words", [
    ({"replicas": 2}, "values.replicas is not known"),
    ({"config": {"gatewayUrl": "gateway:9090"}}, "config.gatewayUrl"),
    ({"config": {"tenant": "a/b"}}, "config.tenant"),
    ({"replicaCount": "2"}, "replicaCount"),
    ({"service": {"port": 70000}}, "service.port"),
    ({"global": {"clusterInfo": {"role": "boss"}}}, "clusterInfo.role"),
])
def test_the_schema_refuses(values, words):
    found = chart.violations(chart.merged(chart.Chart(FOLDER).values, values), SCHEMA)
    assert len(found) == 1 and words in found[0]


def test_every_value_is_used_by_a_template():
    text = "".join(path.read_text(encoding="utf-8")
                   for path in (FOLDER / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([\w.]+)", text))
    unused = [path for path in leaves(chart.Chart(FOLDER).values)
              if not any(path == name or path.startswith(name + ".") for name in used)]
    assert unused == []


def leaves(value, path=""):
    if not isinstance(value, dict) or not value:
        return [path]
    return [leaf for name, each in value.items()
            for leaf in leaves(each, f"{path}.{name}".strip("."))]
