"""Gateways and senders that do wrong, one file a scenario: scenarios/README.md."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import scenario

AT_ONCE = int(os.environ.get("SYSTEM_AT_ONCE", "6"))  # most of the time they wait

_ALL = {one.name: one for path in sorted(Path(__file__).with_name("scenarios").glob("*.toml"))
        for one in scenario.load(path)}


@pytest.fixture(scope="module")
def outcomes(request, protos):
    """All that were chosen, side by side; those with long deadlines first."""
    chosen = [item.callspec.params["name"] for item in request.session.items
              if item.module is request.module]
    chosen = [one for one in map(_ALL.get, chosen) if not scenario.skip_reason(one)]
    chosen.sort(key=lambda one: not one.name.startswith("long"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {one.name: pool.submit(scenario.run, one) for one in chosen}
        yield futures
        for future in futures.values():
            future.cancel()


@pytest.mark.parametrize("name", _ALL)
def test_scenario(name, request):
    reason = scenario.skip_reason(_ALL[name])
    if reason:
        pytest.skip(reason)
    failure = request.getfixturevalue("outcomes")[name].exception()
    if isinstance(failure, scenario.Failed):
        pytest.fail(str(failure), pytrace=False)
    if failure:
        raise failure
