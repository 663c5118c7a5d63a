"""What several workers of the service answer beside one, each asked in turn by a generator that takes little itself.

On how many cores they were at work tells how far reads scale where others have a part of the machine too: where the
CPU of a request stays what it was, rates go with the cores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.benchmarks.measurement import CONNECTIONS, cpu_seconds
from tests.benchmarks.pressing import press
from tests.benchmarks.workloads import Requests


@dataclass(frozen=True, slots=True)
class Workers:
    """A service of so many workers, and the process that was started."""

    number: int
    process: int
    port: int


@dataclass(slots=True)
class Scaled:
    """Of one service and one workload, round by round. `cores` is CPU seconds in a second, `generator_cores` too."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)
    generator_cores: list[float] = field(default_factory=list)

    def told(self) -> dict[str, float]:
        return {
            "requests_per_second": round(median(self.rates)),
            "cpu_ms": round(median(self.cpu), 4),
            "cores": round(median(self.cores), 3),
            "generator_cores": round(median(self.generator_cores), 3),
        }


def measure_workers(
    one: Workers, several: Workers, requests: Requests, rounds: int, count: int
) -> dict[str, dict[str, Any]]:
    found = {name: (Scaled(), Scaled()) for name in requests}
    for number in range(rounds + 1):
        for name, scaled in found.items():
            turn = [(one, scaled[0]), (several, scaled[1])]
            for workers, into in turn if number % 2 else reversed(turn):
                before = cpu_seconds(workers.process)
                pressed = press(workers.port, requests[name], count * workers.number, CONNECTIONS)
                cpu = cpu_seconds(workers.process) - before
                if number:  # the first round warms up
                    into.rates.append(pressed.requests / pressed.seconds)
                    into.cpu.append(cpu / pressed.requests * 1000)
                    into.cores.append(cpu / pressed.seconds)
                    into.generator_cores.append(pressed.own_cpu_seconds / pressed.seconds)
    return {
        name: {"workers": several.number, "one": scaled[0].told(), "several": scaled[1].told()}
        for name, scaled in found.items()
    }


def show_workers(found: Mapping[str, Mapping[str, Any]]) -> None:
    for name, each in found.items():
        one, several = each["one"], each["several"]
        print(
            f"{name}, {each['workers']} workers beside one: {several['requests_per_second']} requests a second beside"
            f" {one['requests_per_second']} ({several['requests_per_second'] / one['requests_per_second']:.2f} times),"
            f" on {several['cores']:.2f} cores beside {one['cores']:.2f} ({several['cores'] / one['cores']:.2f} times),"
            f" CPU {several['cpu_ms']:.2f} ms beside {one['cpu_ms']:.2f}; the generator took"
            f" {several['generator_cores']:.2f} cores beside {one['generator_cores']:.2f}"
        )
