"""Zero-cost proxies of three cells, and the nodes of the network they come from.

python examples/proxies.py [--proxies fast] [--batch 16]
"""

from __future__ import annotations

import argparse

import numpy as np

from archcast.cli_output import note, print_table
from archcast.proxies import Measurements, score
from archcast.proxies.proxy import chosen

CELLS = {
    "convolutions": "nasbench201:|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+"
    "|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    "pooling": "nasbench201:|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|",
    "skips": "nasbench201:|skip_connect~0|+|skip_connect~0|none~1|+|skip_connect~0|none~1|none~2|",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxies", default="fast", help="fast, full, or names with commas")
    parser.add_argument("--batch", type=int, default=16, help="number of samples")
    options = parser.parse_args()
    names = [proxy.name for proxy in chosen(options.proxies)]
    scores = score(list(CELLS.values()), names, batch=options.batch)
    rows = [[name, *(f"{value:.4g}" if np.isfinite(value) else "-" for value in scores.column(name))] for name in names]
    print_table("Zero-cost proxies, higher is better", ["proxy", *CELLS], rows)
    for reason in dict.fromkeys(scores.missing.values()):
        note(f"{', '.join(sorted({name for (_, name), why in scores.missing.items() if why == reason}))}: {reason}")
    best = scores.measurements[0]
    if best is not None and best.nodes:
        show_nodes(best)


def show_nodes(measured: Measurements) -> None:
    """The five nodes with the largest share, for the first proxy with node values."""
    name, values = next((pair for pair in measured.nodes.items() if pair[0] not in ("params", "macs")), (None, None))
    if name is None or values is None:
        return
    order = np.argsort(-np.nan_to_num(np.abs(values)))[:5]
    rows = [[str(node), measured.ops[node], f"{values[node]:.4g}"] for node in order if np.isfinite(values[node])]
    print_table(f"largest {name} in the first cell", ["node", "op", name], rows, left=2)


if __name__ == "__main__":
    main()
