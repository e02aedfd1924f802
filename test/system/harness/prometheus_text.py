"""The Prometheus text format, read into a dict."""

import re

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


class Metrics(dict):
    """Values by (name, frozenset of label pairs)."""

    def value(self, name, **labels):
        return self[name, frozenset(labels.items())]

    def sum(self, name, **labels):
        """The sum over all that have these labels and maybe others."""
        wanted = set(labels.items())
        return sum(value for (key, pairs), value in self.items() if key == name and wanted <= pairs)

    def names(self):
        return {name for name, _ in self}


def parse(text):
    metrics = Metrics()
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        assert match, f"not a line of the text format: {line!r}"
        key = match[1], frozenset(_LABEL.findall(match[2] or ""))
        assert key not in metrics, f"twice: {line!r}"
        metrics[key] = float(match[3])
    return metrics
