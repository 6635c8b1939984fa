"""Score all 15,625 cells of NAS-Bench-201 with the pretrained predictor: from nothing, then from the cache.

    python -m benchmarks.whole_space

Each run is a fresh process; the clock starts when the labels are loaded and the predictor is read. Writes
`results/whole_space.csv` with seconds by the clock and of processor time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

OUTPUT = Path(__file__).parent / "results" / "whole_space.csv"


def measure() -> dict[str, float]:
    """Seconds to score the whole space in this process."""
    import archcast

    bench = archcast.load_benchmark("nasbench201", task="cifar10")
    predictor = archcast.Predictor.from_pretrained("base")
    wall, processor = time.perf_counter(), time.process_time()
    forecasts = predictor.predict(bench)
    seconds = {"wall_seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
    return {"networks": float(len(forecasts)), **seconds}


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as home:
        for run in ("cold", "from cache"):
            command = [sys.executable, "-m", "benchmarks.whole_space", "--measure"]
            result = subprocess.run(
                command, env={**os.environ, "ARCHCAST_HOME": home}, stdout=subprocess.PIPE, text=True, check=True
            )
            rows.append({"run": run, **json.loads(result.stdout)})
    table = pd.DataFrame(rows).round(2)
    table.to_csv(OUTPUT, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    if "--measure" in sys.argv:
        print(json.dumps(measure()))
    else:
        main()
