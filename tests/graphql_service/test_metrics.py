"""What several workers count together."""

import os
import subprocess
import sys
from pathlib import Path

from graphql_service.metrics import end_worker, worker_environment

COUNT = """
from graphql_service.metrics import IN_FLIGHT, QUERY_PROBLEMS, expose
QUERY_PROBLEMS.labels("bad_date").inc()
IN_FLIGHT.inc()
print(expose()[0].decode())
"""
PROBLEMS, IN_FLIGHT = 'imagesets_query_problems_total{code="bad_date"}', "imagesets_requests_in_flight"


def work(folder: Path, number: int) -> list[str]:
    """What a worker shows of these two after it has counted one of each."""
    environment = os.environ | worker_environment(folder, number)
    ran = subprocess.run([sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return sorted(line for line in ran.stdout.splitlines() if line.startswith((PROBLEMS, IN_FLIGHT)))


def test_counts_outlive_a_worker_and_what_it_had_in_hand_does_not(tmp_path: Path) -> None:
    assert work(tmp_path, 0) == [f"{PROBLEMS} 1.0", f"{IN_FLIGHT} 1.0"]
    assert work(tmp_path, 1) == [f"{PROBLEMS} 2.0", f"{IN_FLIGHT} 2.0"]
    end_worker(tmp_path, 1)
    # In its place.
    assert work(tmp_path, 1) == [f"{PROBLEMS} 3.0", f"{IN_FLIGHT} 2.0"]
    end_worker(tmp_path, 0)
    end_worker(tmp_path, 1)
    assert work(tmp_path, 2) == [f"{PROBLEMS} 4.0", f"{IN_FLIGHT} 1.0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "counter_0.db", "counter_1.db", "counter_2.db", "gauge_livesum_2.db",
        "histogram_0.db", "histogram_1.db", "histogram_2.db",
    ]  # fmt: skip
