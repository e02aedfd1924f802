"""The loads that peers are measured under."""

import dataclasses


@dataclasses.dataclass
class Scenario:
    name: str
    series: int  # samples of one request
    connections: int
    sink: tuple = ()  # further options of the sink

    def load(self):
        """Options of the load generator; closed loop: each connection sends when answered."""
        return [f"--series={self.series}", f"--connections={self.connections}"]


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("2000x8", 2000, 8),
        Scenario("500x32", 500, 32),
        Scenario("100x64", 100, 64),
        Scenario("20x256", 20, 256),
        Scenario("2000x64", 2000, 64),
        Scenario("50ms-away", 2000, 8, ("--delay-ms=50",)),
    )
}
