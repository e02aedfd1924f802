"""Real peers as processes: Prometheus, VictoriaMetrics, node-exporter."""

import json
import urllib.parse

import snappy

from . import wire
from .client import Client
from .ports import Port
from .process import Process
from .waiting import until


class Server(Process):
    """A peer that listens on a port of its own; ready when the constructor returns."""

    ready_path = "/"

    def __init__(self, port, argv):
        self._port = port
        self.address = ("127.0.0.1", port.number)
        super().__init__(argv)
        until(self._ready_or_ended, f"{argv[0]} is ready", timeout_s=60)
        assert self.running(), f"{argv[0]} ended at start:\n{self.log}"

    @property
    def url(self):
        return "http://%s:%d" % self.address

    def client(self):
        return Client(self.address)

    def get(self, path, **arguments):
        query = "?" + urllib.parse.urlencode(arguments, doseq=True) if arguments else ""
        with Client(self.address) as client:
            response = client.request("GET", path + query, {"Connection": "close"})
        assert response.status == 200, response.text
        return response.body

    def close(self):
        self.kill()
        self._port.close()

    def _ready_or_ended(self):
        if not self.running():
            return True
        try:
            self.get(self.ready_path)
        except (OSError, AssertionError):
            return False
        return True


class Prometheus(Server):
    """A Prometheus that takes remote write and keeps everything of it. config: YAML, or none."""

    ready_path = "/-/ready"

    def __init__(self, directory, config=""):
        port = Port()
        (directory / "prometheus.yml").write_text(config)
        super().__init__(port, [
            "prometheus", f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port.number}",
            "--web.enable-remote-write-receiver", "--storage.tsdb.allow-overlapping-blocks",
            "--enable-feature=native-histograms,exemplar-storage", "--log.level=warn"])

    def stored(self, start_ms, end_ms, **matchers):
        """The floats that are stored between the times, inclusive, by remote read: as they are,
        stale markers included. A dict: labels -> [(time, bits)]. matchers are regular
        expressions; without any, all series."""
        query = wire.read.Query(start_timestamp_ms=start_ms, end_timestamp_ms=end_ms)
        for name, value in (matchers or {"__name__": ".+"}).items():
            query.matchers.add(type="RE", name=name, value=value)
        body = snappy.compress(wire.read.ReadRequest(queries=[query]).SerializeToString())
        with Client(self.address) as client:
            response = client.request("POST", "/api/v1/read", {
                "Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
                "X-Prometheus-Remote-Read-Version": "0.1.0"}, body)
        assert response.status == 200, response.text
        answer = wire.read.ReadResponse.FromString(snappy.decompress(response.body))
        return floats_by_labels(answer.results[0].timeseries)

    def histograms(self, name, at_s):
        """The native histograms of the last hour before the time, as the query API has them:
        [[time, {count, sum, buckets}], ...] of each series. Remote read in 2.42 has none."""
        data = json.loads(self.get("/api/v1/query", query=f"{name}[1h]", time=at_s))["data"]
        return {frozenset(one["metric"].items()): one["histograms"] for one in data["result"]}

    def exemplars(self, query, start_s, end_s):
        """[(labels of the exemplar, value, time in s)] of each series, by its labels."""
        data = json.loads(self.get("/api/v1/query_exemplars", query=query, start=start_s,
                                   end=end_s))["data"]
        return {frozenset(one["seriesLabels"].items()):
                [(one["labels"], float(one["value"]), one["timestamp"])
                 for one in one["exemplars"]] for one in data}


class VictoriaMetrics(Server):
    """A single-node VictoriaMetrics."""

    ready_path = "/health"

    def __init__(self, directory):
        port = Port()
        super().__init__(port, [
            "victoria-metrics", f"-storageDataPath={directory}/data",
            f"-httpListenAddr=127.0.0.1:{port.number}", "-search.disableCache",
            "-memory.allowedBytes=64MB", "-loggerLevel=WARN", "-retentionPeriod=100y"])

    def stored(self, match):
        """labels -> [(time, value or None for a stale marker)]"""
        self.get("/internal/force_flush")
        exported = self.get("/api/v1/export", **{"match[]": match, "reduce_mem_usage": "1"})
        stored = {}
        for line in exported.splitlines():
            one = json.loads(line)
            points = stored.setdefault(frozenset(one["metric"].items()), [])
            points.extend(zip(one["timestamps"], one["values"]))
        return {labels: sorted(points, key=lambda point: point[0])
                for labels, points in stored.items()}


class NodeExporter(Server):
    ready_path = "/metrics"

    def __init__(self):
        port = Port()
        super().__init__(port, [
            "prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port.number}",
            "--web.disable-exporter-metrics", "--collector.disable-defaults",
            "--collector.cpu", "--collector.loadavg", "--collector.meminfo", "--collector.stat",
            "--collector.netdev", "--collector.vmstat", "--log.level=warn"])


def floats_by_labels(series_list):
    """labels -> [(time, bits of the float)] of TimeSeries."""
    found = {}
    for one in series_list:
        labels = frozenset((label.name, label.value) for label in one.labels)
        found.setdefault(labels, []).extend(
            (sample.timestamp, wire.float_bits(sample.value)) for sample in one.samples)
    return found
