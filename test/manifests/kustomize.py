"""A small `kubectl kustomize` for machines without one: just what the folders of manifests/ use.

resources and components (folders and files), replacements with a delimiter, JSON patches,
ConfigMaps of files, and objects for local use only. A field that it does not know is an error, so that it cannot pass over
one in silence; where kubectl is installed, a test holds both to the same result."""

import copy
import re
from pathlib import Path

import yaml

KNOWN = {"apiVersion", "kind", "resources", "components", "replacements", "patches",
         "configMapGenerator"}
LOCAL = "config.kubernetes.io/local-config"


class BuildError(Exception):
    """What is wrong with a kustomization, with its folder."""


def documents(path):
    with open(path, encoding="utf-8") as file:
        return [each for each in yaml.safe_load_all(file) if each is not None]


def build(folder):
    """The objects that a folder stands for."""
    return [each for each in _accumulate(Path(folder), [])
            if each["metadata"].get("annotations", {}).get(LOCAL) != "true"]


def _accumulate(folder, objects):
    """objects, and those of the folder; a component changes those that it is given."""
    [settings] = documents(folder / "kustomization.yaml")
    unknown = set(settings) - KNOWN
    if unknown:
        raise BuildError(f"{folder}: {', '.join(sorted(unknown))} is not known")
    for name in settings.get("resources", []):
        path = folder / name
        objects = objects + (build(path) if path.is_dir() else documents(path))
    objects = objects + [_config_map(each, folder)
                         for each in settings.get("configMapGenerator", [])]
    for patch in settings.get("patches", []):
        for target in _selected(objects, patch["target"], folder):
            for operation in _operations(patch, folder):
                _apply(target, operation)
    for name in settings.get("components", []):
        objects = _accumulate(folder / name, objects)
    for replacement in settings.get("replacements", []):
        _replace(objects, replacement, folder)
    return objects


def _config_map(settings, folder):
    """A ConfigMap of files, each "key=path"; its name must be meant to stay as it is."""
    if not settings["options"]["disableNameSuffixHash"]:
        raise BuildError(f"{folder}: names with a hash are not known")
    data = {}
    for file in settings["files"]:
        name, path = file.split("=")
        data[name] = (folder / path).read_text(encoding="utf-8")
    return {"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": settings["name"], "namespace": settings["namespace"],
                         "labels": settings["options"]["labels"]}}


def _operations(patch, folder):
    return documents(folder / patch["path"])[0]


def _selected(objects, select, folder):
    found = [each for each in objects
             if each["kind"] == select["kind"] and each["metadata"]["name"] == select["name"]]
    if not found:
        raise BuildError(f"{folder}: no {select['kind']} {select['name']}")
    return found


def _apply(target, operation):
    """One operation of a JSON patch: add or replace."""
    *steps, last = operation["path"].strip("/").split("/")
    for step in steps:
        target = target[int(step) if isinstance(target, list) else step]
    if isinstance(target, list) and last == "-":
        target.append(operation["value"])
    elif operation["op"] == "replace":
        last = int(last) if isinstance(target, list) else last
        target[last]  # must be there
        target[last] = operation["value"]
    else:
        raise BuildError(f"operation {operation['op']} at {operation['path']} is not known")


def _replace(objects, replacement, folder):
    source = _selected(objects, replacement["source"], folder)[0]
    value = copy.deepcopy(_at(source, replacement["source"]["fieldPath"].split(".")))
    for target in replacement["targets"]:
        options = target.get("options", {})
        for each in _selected(objects, target["select"], folder):
            for path in target["fieldPaths"]:
                *steps, last = _steps(path)
                parent = _at(each, steps)
                last = int(last) if isinstance(parent, list) else last
                old = parent[last]
                if "delimiter" in options:
                    parts = old.split(options["delimiter"])
                    parts[options["index"]] = value
                    parent[last] = options["delimiter"].join(parts)
                else:
                    parent[last] = value


def _steps(path):
    return re.findall(r"\[[^\]]*\]|[^.\[\]]+", path)


def _at(value, steps):
    for step in steps:
        match = re.fullmatch(r"\[(\w+)=(.*)\]", step)
        if match:
            [value] = [each for each in value if each[match.group(1)] == match.group(2)]
        else:
            value = value[int(step) if isinstance(value, list) else step]
    return value
