"""A small renderer of charts for machines without helm: just the part of Go's templates and of
helm's functions that manifests/chart uses. Whatever else stands in a template is an error, and so
is a value that values.yaml does not have."""

import copy
import re
from pathlib import Path

import yaml


class ChartError(Exception):
    """A template that cannot be rendered, or `fail`."""


class Scope:
    """What an action sees: the dot, and variables."""

    def __init__(self, dot, variables):
        self.dot = dot
        self.variables = variables

    def inner(self, dot):
        return Scope(dot, dict(self.variables))


ACTION = re.compile(r"\{\{(-)?\s*(/\*.*?\*/|.*?)\s*(-)?\}\}", re.DOTALL)
TOKEN = re.compile(r'\s*("(?:\\.|[^"\\])*"|:=|[|()]|\$?[\w.$]+)')


class Chart:
    """A chart's folder, ready to be rendered."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.about = yaml.safe_load((self.folder / "Chart.yaml").read_text(encoding="utf-8"))
        self.values = yaml.safe_load((self.folder / "values.yaml").read_text(encoding="utf-8"))
        self.defined = {}
        self.files = {}
        for path in sorted((self.folder / "templates").iterdir()):
            items = self._parse(path.read_text(encoding="utf-8"), path.name)
            if not path.name.startswith("_"):
                self.files[path.name] = items

    def render(self, values=None, name="release", namespace="default"):
        """{file: text} of all templates, under values.yaml and what lies over it."""
        root = {"Values": merged(self.values, values or {}),
                "Release": {"Name": name, "Namespace": namespace, "Service": "Helm"},
                "Chart": {key[0].upper() + key[1:]: value for key, value in self.about.items()}}
        return {file: self._text(items, Scope(root, {"$": root}))
                for file, items in self.files.items()}

    def objects(self, *arguments, **named):
        """The Kubernetes objects of render()."""
        return [each for file, text in self.render(*arguments, **named).items()
                if file.endswith(".yaml") for each in yaml.safe_load_all(text) if each is not None]

    # Text -> items: strings, and tuples (action, rest...).

    def _parse(self, text, file):
        pieces, at = [], 0
        for match in ACTION.finditer(text):
            pieces.append(text[at:match.start()])
            if match.group(1):
                pieces[-1] = pieces[-1].rstrip()
            if pieces[:-1] and pieces[-2][2]:
                pieces[-1] = pieces[-1].lstrip()
            pieces.append((text.count("\n", 0, match.start()) + 1, match.group(2), match.group(3)))
            at = match.end()
        last = text[at:]
        pieces.append(last.lstrip() if pieces and pieces[-1][2] else last)
        items, end = self._block(pieces, 0, file)
        if end < len(pieces):
            raise ChartError(f"{file}:{pieces[end][0]}: {{{{ {pieces[end][1]} }}}} closes nothing")
        return items

    def _block(self, pieces, at, file):
        """Items up to an else or end that is not theirs, and where it is."""
        items = []
        while at < len(pieces):
            piece = pieces[at]
            if isinstance(piece, str):
                items.append(piece)
                at += 1
                continue
            line, action, _ = piece
            word, _, rest = action.partition(" ")
            if word in ("else", "end"):
                return items, at
            at += 1
            if action.startswith("/*"):
                continue
            if word in ("if", "with", "range", "define"):
                branches, at = self._branches(pieces, at, file, line, rest)
                if word == "define":
                    self.defined[rest.strip('"')] = branches[0][1]
                else:
                    items.append((word, branches))
            else:
                items.append(("print", f"{file}:{line}", action))
        return items, at

    def _branches(self, pieces, at, file, line, condition):
        """[(condition, items)] up to the end that belongs here; an else's condition is None."""
        branches = []
        while True:
            items, at = self._block(pieces, at, file)
            branches.append((condition, items))
            if at >= len(pieces):
                raise ChartError(f"{file}:{line}: no end")
            action = pieces[at][1]
            at += 1
            if action == "end":
                return branches, at
            condition = action[len("else if "):] if action.startswith("else if ") else None

    # Items -> text.

    def _text(self, items, scope):
        out = []
        for item in items:
            if isinstance(item, str):
                out.append(item)
            elif item[0] == "print":
                _, where, action = item
                try:
                    out.append(self._action(action, scope))
                except (KeyError, TypeError, AttributeError) as error:
                    raise ChartError(f"{where}: {action}: {error!r}") from error
            else:
                out.append(self._control(item, scope))
        return "".join(out)

    def _action(self, action, scope):
        assignment = re.match(r"(\$\w+)\s*:=\s*(.*)", action, re.DOTALL)
        if assignment:
            scope.variables[assignment.group(1)] = self._value(assignment.group(2), scope)
            return ""
        return shown(self._value(action, scope))

    def _control(self, item, scope):
        word, branches = item
        for condition, items in branches:
            value = True if condition is None else self._value(condition, scope)
            if word == "range" and condition is not None and value:
                return "".join(self._text(items, scope.inner(each)) for each in value)
            if value:
                return self._text(items, scope.inner(value if word == "with" and condition
                                                     else scope.dot))
        return ""

    # Expressions: pipelines of words, in parentheses or not.

    def _value(self, text, scope):
        tokens = TOKEN.findall(text)
        if "".join(tokens).replace(" ", "") != re.sub(r"\s", "", text) and '"' not in text:
            raise ChartError(f"{text}: not understood")
        value, rest = self._pipeline(tokens, scope)
        if rest:
            raise ChartError(f"{text}: {rest[0]} is left over")
        return value

    def _pipeline(self, tokens, scope):
        piped = []
        while True:
            words = []
            while tokens and tokens[0] not in ("|", ")"):
                word, *tokens = tokens
                if word == "(":
                    value, tokens = self._pipeline(tokens, scope)
                    tokens = tokens[1:]
                    words.append(("value", value))
                else:
                    words.append(self._word(word, scope))
            kind, first = words[0]
            arguments = [value for _, value in words[1:]] + piped
            value = self._call(first, arguments) if kind == "function" else first
            if not tokens or tokens[0] == ")":
                return value, tokens
            piped, tokens = [value], tokens[1:]

    def _word(self, word, scope):
        if word[0] == '"':
            return "value", word[1:-1].replace('\\"', '"')
        if re.fullmatch(r"\d+", word):
            return "value", int(word)
        if word[0] not in ".$":
            return "function", word
        start, *fields = word.split(".")
        value = scope.variables[start] if start else scope.dot
        for field in filter(None, fields):
            value = value[field]
        return "value", value

    def _call(self, name, arguments):
        if name == "include":
            return self._text(self.defined[arguments[0]],
                              Scope(arguments[1], {"$": arguments[1]}))
        if name not in FUNCTIONS:
            raise ChartError(f"the function {name} is not known")
        return FUNCTIONS[name](*arguments)


def fail(message):
    raise ChartError(message)


def first_or_last(wanted):
    """`and` or `or`: the first argument whose truth is wanted, else the last."""
    return lambda *values: next((each for each in values if bool(each) == wanted), values[-1])


def indent(width, text):
    return "\n".join(" " * width + line for line in text.split("\n"))


def to_yaml(value):
    return yaml.safe_dump(value, default_flow_style=False).removesuffix("\n").removesuffix("\n...")


FUNCTIONS = {
    "and": first_or_last(False),
    "concat": lambda *lists: [each for part in lists for each in part],
    "contains": lambda part, text: part in text,
    "default": lambda fallback, value: value or fallback,
    "dict": lambda: {},
    "eq": lambda left, right: left == right,
    "fail": fail,
    "kindIs": lambda kind, value: {"map": dict, "slice": list, "string": str}[kind] is type(value),
    "merge": lambda *maps: {key: value for each in reversed(maps) for key, value in each.items()},
    "ne": lambda left, right: left != right,
    "nindent": lambda width, text: "\n" + indent(width, text),
    "not": lambda value: not value,
    "or": first_or_last(True),
    "printf": lambda form, *values: form % tuple(map(shown, values)),
    "quote": lambda value: '"' + shown(value).replace("\\", "\\\\").replace('"', '\\"') + '"',
    "replace": lambda old, new, text: text.replace(old, new),
    "toYaml": to_yaml,
    "trimSuffix": lambda suffix, text: text.removesuffix(suffix),
    "trunc": lambda width, text: text[:width],
}


def shown(value):
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def merged(below, above):
    """A values file over another: maps are merged, all else is replaced."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return copy.deepcopy(above)
    out = copy.deepcopy(below)
    for key, value in above.items():
        out[key] = merged(below[key], value) if key in below else copy.deepcopy(value)
    return out


def violations(value, schema, path="values"):
    """What a JSON schema finds wrong, as far as values.schema.json uses the language."""
    if "anyOf" in schema:
        if all(violations(value, each, path) for each in schema["anyOf"]):
            return [f"{path}: none of the forms allowed"]
        return []
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{path}: {value!r} is not in {schema['enum']}"]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if type(value) not in [types[kind] for kind in kinds]:
        return [f"{path}: {value!r} is no {' or '.join(kinds)}"]
    found = []
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            found.append(f"{path}: {value!r} does not match {schema['pattern']}")
        if len(value) < schema.get("minLength", 0):
            found.append(f"{path}: too short")
    elif isinstance(value, int) and not isinstance(value, bool):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            found.append(f"{path}: {value} is out of range")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            found += violations(each, schema["items"], f"{path}.{number}")
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        found += [f"{path}.{name} is missing" for name in schema.get("required", [])
                  if name not in value]
        for name, each in value.items():
            inner = known.get(name, schema.get("additionalProperties", True))
            if inner is False:
                found.append(f"{path}.{name} is not known")
            elif inner is not True:
                found += violations(each, inner, f"{path}.{name}")
    return found
