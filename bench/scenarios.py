"""The loads that peers are measured under, and the groups that they are chosen by."""

import dataclasses

FAST = ("nginx", "nginx-tuned", "haproxy", "floor", "agent-proxy")
CURVE = ("nginx", "floor", "agent-proxy")
# The same program once more: what differs between the two is the machine's doing.
AGAIN = "agent-proxy-again"
WORKERS = ("floor", "floor-2p", "agent-proxy", AGAIN, "agent-proxy-2w")
CONNECTIONS = (1, 4, 8, 32, 128, 512, 1024)
WORKERS_CONNECTIONS = (8, 64, 512)
SIZES = (20, 100, 500, 2000, 10000)
# A stall as virtual machines know them, 17 a second.
STALL_MS, PERIOD_MS = 3, 60


@dataclasses.dataclass
class Scenario:
    """A load in closed loop: each connection sends again when it was answered."""

    name: str
    series: int  # samples of one request
    connections: int
    sink: tuple = ()  # further options of the sink
    peers: tuple = ()  # who is measured; (): all
    proxy_flags: tuple = ()  # of agent-proxy, where its defaults are meant to refuse such a load

    def cores(self, cores):
        """The CPUs for this load, of those that a bench has."""
        return cores

    def load(self):
        """Options of the load generator."""
        return [f"--series={self.series}", f"--connections={self.connections}"]

    @property
    def describes(self):
        return f"{self.series} samples a request, {self.connections} connections"


@dataclasses.dataclass
class OpenScenario(Scenario):
    """A load at a fixed rate; latency counts from when a request was due."""

    rate: float = 0  # [requests/s]; 0: half load
    times: float = 4  # as long as a closed loop
    together: bool = True  # all programs on the peer's CPU
    stalls: bool = False  # the peer's CPU is taken away now and then; needs root

    @property
    def describes(self):
        rate = f"{self.rate:g} requests/s" if self.rate else (
            "the CPU half busy" if self.together else "half of agent-proxy's throughput"
        )
        where = "one CPU" if self.together else "two CPUs"
        stalls = f", of {PERIOD_MS} ms {STALL_MS} taken away" if self.stalls else ""
        return f"{super().describes}, {where}, {rate}{stalls}"

    def cores(self, cores):
        return dataclasses.replace(cores, load=cores.peer) if self.together else cores


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
        Scenario(f"workers-{count}", 500, count, peers=WORKERS, proxy_flags=MANY)
        for count in WORKERS_CONNECTIONS
    ],
    "connections": [
        Scenario(f"connections-{count}", 500, count, peers=(*CURVE, AGAIN), proxy_flags=MANY)
        for count in CONNECTIONS
    ],
    "sizes": [
        Scenario(f"sizes-{series}", series, 16, peers=CURVE) for series in SIZES
    ],
}
# Those of several scenarios: a curve over the number in their names.
CURVES = ("workers", "connections", "sizes")
# Those where a few percent decide: they get twice as many rounds.
TWICE = ("100x64", "workers", "connections")

LATENCY_PEERS = ("direct", "nginx", "haproxy", "floor", "agent-proxy", AGAIN)
OPEN = {
    "latency": [
        OpenScenario("latency-2000x8", 2000, 8, peers=LATENCY_PEERS),
        OpenScenario("latency-100x64", 100, 64, peers=LATENCY_PEERS),
    ],
    "apart": [
        OpenScenario("apart-2000x8", 2000, 8, peers=LATENCY_PEERS, times=2, together=False),
        OpenScenario("apart-100x64", 100, 64, peers=LATENCY_PEERS, times=2, together=False),
    ],
    "stalls": [
        OpenScenario(f"stalls-{series}x{count}", series, count, peers=LATENCY_PEERS, times=2,
                     together=False, stalls=True)
        for series, count in ((2000, 8), (100, 64))
    ],
    "slow-sender": [
        OpenScenario(
            "slow-sender", 100, 1, peers=LATENCY_PEERS, rate=50, times=8, together=False
        )
    ],
}

# Those of gateways.py and container.py have a form of their own.
GATEWAYS = "gateways"
CONTAINER = "container"

NAMES = (*CLOSED, *OPEN, GATEWAYS, CONTAINER)
