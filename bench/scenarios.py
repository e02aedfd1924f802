"""The loads that peers are measured under, and the groups that they are chosen by."""

import dataclasses

FAST = ("nginx", "nginx-tuned", "haproxy", "floor", "agent-proxy")
CURVE = ("nginx", "floor", "agent-proxy")
CONNECTIONS = (1, 4, 8, 32, 128, 512, 1024)
SIZES = (20, 100, 500, 2000, 10000)


@dataclasses.dataclass
class Scenario:
    """A load in closed loop: each connection sends again when it was answered."""

    name: str
    series: int  # samples of one request
    connections: int
    sink: tuple = ()  # further options of the sink
    peers: tuple = ()  # who is measured; (): all
    proxy_flags: tuple = ()  # of agent-proxy, where its defaults are meant to refuse such a load
    share: float = 1  # of --seconds

    def load(self):
        """Options of the load generator."""
        return [f"--series={self.series}", f"--connections={self.connections}"]

    @property
    def describes(self):
        return f"{self.series} samples a request, {self.connections} connections"


@dataclasses.dataclass
class OpenScenario(Scenario):
    """A load at a fixed rate; latency counts from when a request was due."""

    rate: float = 0  # [requests/s]; 0: half of what agent-proxy carries in a closed loop

    @property
    def describes(self):
        rate = f"{self.rate:g} requests/s" if self.rate else "half of agent-proxy's throughput"
        return f"{super().describes}, {rate}"


# 1,024 bodies are more than the default budget of 64 MiB.
MANY = ("--limits.memory-bytes=256MiB",)

CLOSED = {
    "2000x8": [Scenario("2000x8", 2000, 8)],
    "500x32": [Scenario("500x32", 500, 32)],
    "100x64": [Scenario("100x64", 100, 64)],
    "20x256": [Scenario("20x256", 20, 256)],
    "2000x64": [Scenario("2000x64", 2000, 64, peers=FAST)],
    "50ms-away": [Scenario("50ms-away", 2000, 8, ("--delay-ms=50",), FAST)],
    "workers": [
        Scenario("workers", 2000, 8, peers=("floor", "floor-2p", "agent-proxy", "agent-proxy-2w"))
    ],
    "connections": [
        Scenario(
            f"connections-{count}", 500, count, peers=CURVE, proxy_flags=MANY, share=0.5
        )
        for count in CONNECTIONS
    ],
    "sizes": [
        Scenario(f"sizes-{series}", series, 16, peers=CURVE, share=0.5) for series in SIZES
    ],
}

LATENCY_PEERS = ("direct", "nginx", "haproxy", "floor", "agent-proxy")
OPEN = {
    "latency": [
        OpenScenario("latency-2000x8", 2000, 8, peers=LATENCY_PEERS),
        OpenScenario("latency-100x64", 100, 64, peers=LATENCY_PEERS),
    ],
    "slow-sender": [OpenScenario("slow-sender", 100, 1, peers=LATENCY_PEERS, rate=50)],
}

# Those of gateways.py and container.py have a form of their own.
GATEWAYS = "gateways"
CONTAINER = "container"

NAMES = (*CLOSED, *OPEN, GATEWAYS, CONTAINER)
