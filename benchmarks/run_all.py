"""Run every benchmark, one after another: `make bench`. Hours on two cores; the long ones go on where they stopped."""

from __future__ import annotations

import subprocess
import sys

SCRIPTS = (
    "capture_coverage", "capture_exactness", "capture_speed", "torch_onnx_agreement", "onnx_backend",
    "builders_faithful", "stamping_speed", "colour_sharing", "graph_cache", "text_lengths", "label_noise",
    "few_shot", "zero_shot", "transfer", "law_selection", "ablation", "choices", "in_context",
    "baselines_zero_shot", "throughput",
    "intervals", "uncertainty", "active_labels", "adaptation", "import_and_latency", "whole_space",
    "proxy_reference",
    "proxy_cost", "measurements", "proxy_correlation", "proxy_fidelity", "robot", "zero_cost_pt", "pretraining_resume",
    "pretraining_objectives", "heads", "losses",
    "search_queries", "search_hardware", "search_real", "search_kill", "search_ray",
    "search_ask_speed", "large_pools",
    "adapters",
    "tables",
)  # fmt: skip


def main() -> int:
    failed = []
    for number, name in enumerate(SCRIPTS, start=1):
        print(f"[{number}/{len(SCRIPTS)}] python -m benchmarks.{name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all benchmarks ran")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
