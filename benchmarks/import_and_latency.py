"""How long a user waits: `import archcast`, `archcast --help`, `archcast predict` on one ONNX resnet50.

    python -m benchmarks.import_and_latency [--predictor base] [--repeats 5]

Every figure is the best of several fresh processes. "Process" is user and system CPU time of the whole
process, imports included; "own work" is the wall time of reading the file, encoding it and asking the predictor, once
everything is imported and the predictor is loaded (the first call, so caches are cold).
Targets: import < 0.3 s, predict < 3 s of process time, own work < 150 ms.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "import_and_latency.csv"

_IMPORT = "import time; t = time.perf_counter(); import archcast; print(time.perf_counter() - t)"
_OWN_WORK = """
import sys, time
import archcast
from archcast.encoders import features
from archcast.graphs import capture, onnx_reader
archcast.predict([{warm!r}], predictor={predictor!r})
start = time.perf_counter()
archcast.predict([{network!r}], predictor={predictor!r})
print(time.perf_counter() - start)
"""
_MODULES = """
import sys, archcast
archcast.predict([{network!r}], predictor={predictor!r})
print(' '.join(name for name in ('torch', 'sklearn', 'lightgbm', 'pandas', 'scipy', 'onnx') if name in sys.modules))
"""
TINY = "nasbench201:|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"


def write_resnet50(folder: Path) -> Path:
    """torchvision's resnet50 as an ONNX file with its (random) weights, about 100 MB."""
    import torch
    from torchvision.models import resnet50

    path = folder / "resnet50.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the older exporter is ten times faster
        torch.onnx.export(resnet50(weights=None).eval(), (torch.zeros(1, 3, 224, 224),), str(path), dynamo=False)
    return path


def run(command: list[str]) -> tuple[float, float, str]:
    """Process seconds, wall seconds and output of one fresh process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return used, time.perf_counter() - started, done.stdout


def measure(predictor: str, repeats: int) -> list[dict[str, object]]:
    """One row per figure."""
    python = [sys.executable, "-c"]
    with tempfile.TemporaryDirectory() as folder:
        network = str(write_resnet50(Path(folder)))
        command = [sys.executable, "-m", "archcast.cli", "predict", network, "--predictor", predictor]
        own = _OWN_WORK.format(network=network, predictor=predictor, warm=TINY)
        seconds = {
            ("import archcast, s", 0.3): min(float(run([*python, _IMPORT])[2]) for _ in range(repeats)),
            ("archcast --help, wall s", 1.0): min(
                run([sys.executable, "-m", "archcast.cli", "--help"])[1] for _ in range(repeats)
            ),
            ("archcast predict resnet50.onnx, process s", 3.0): min(run(command)[0] for _ in range(repeats)),
            ("archcast predict resnet50.onnx, own work s", 0.15): min(
                float(run([*python, own])[2]) for _ in range(repeats)
            ),
        }
        print("imported:", run([*python, _MODULES.format(network=network, predictor=predictor)])[2].strip())
    return [{"figure": name, "target": target, "measured": round(s, 4)} for (name, target), s in seconds.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictor", default="base", help="name or folder of a bundle")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows = measure(options.predictor, options.repeats)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(f"{row['figure']:45} {row['measured']:>8} (target < {row['target']})")


if __name__ == "__main__":
    main()
