"""What each part of ranking unseen pools is worth: leave one family out, take one part away, Spearman.

    python -m benchmarks.ablation --parts features measured --seeds 0 1 2
    python -m benchmarks.ablation --parts encoders text --seeds 0 --spaces nasbench201 nasbench101 transnas101-micro

Writes results/ablation.csv (`--output`). Families, pools and networks are those of `benchmarks.transfer`, and so are
the graph encoders, which are read from `--encoders` or trained there. Parts:

- *features*: the ranker without graph encoders; without its experts, its prior, one prior for all pools, each source
  space; deviations not scaled by how much a feature varies, in units of the spread over all sources (no conditioning
  on the pool but its mean), and normal scores of ranks instead of deviations, scaled and not.
- *measured*: the same with measured proxies on stand-ins; without them, one committee for all pools, committees that
  are equally loud in all, proxies that all have the same vote, and those alone.
- *encoders*: where wiring varies; graph encoders alone and in the prior of the full ranker, with one head or one for
  each fuzzy cluster, `--members` of each kind and all three of the first. What the pretraining objectives teach is in
  results/pretraining_objectives.csv.
- *text*: as many text encoders, and both (mean of their standardised scores).

Finished pools stay in the CSV; `--again` does the parts asked for anew. `--show` only prints the table: the mean over
pools of the median over seeds, the change where wiring, resolution and sizes vary, the greatest loss and gain in a
pool, and the mean over pools of the range over seeds.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes share the cores, not threads

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import spearmanr
from tqdm import tqdm

from archcast.datasets.benchmark import Benchmark
from archcast.encoders.features import encode
from archcast.encoders.pool import Pool
from archcast.encoders.variation import KINDS
from archcast.graphs.graph import GraphBatch
from archcast.predictor.calibration import standardised
from archcast.predictor.consensus import COMMITTEES, PROXIES, STRENGTHS, consensus
from archcast.predictor.graph_training import GraphTraining
from archcast.predictor.pretraining import Sources, family_of
from archcast.predictor.ranker import PoolRanker, hears_graphs
from archcast.predictor.text_ranker import TextTraining, train_text_ranker
from archcast.proxies.aggregate import ranks
from archcast.proxies.tables import FOLDER as MEASUREMENTS
from benchmarks.measured_networks import thoroughly_measured
from benchmarks.transfer import TASKS, all_pools, graph_ranker, ranked_pools, sources

RESULT = Path(__file__).parent / "results" / "ablation.csv"
PARTS = ("features", "measured", "encoders", "text")
FULL = {"features": "full", "measured": "full", "encoders": "features alone", "text": "features alone"}
"""What the parts of each kind are compared with."""
CLUSTERS = 4
TEXT_STEPS = 160
"""Graph encoders are nearly as good after as many (docs/EXPERIMENTS.md); a step of text takes several times as long."""
EQUAL_VOTES = 1.2
"""Weight of all proxies together where each has the same vote; fixed before it was tried."""

LOUDNESS = (0.5, 1.0, 2.0, 3.0, 4.0)

FloatArray = NDArray[np.float64]
Features = NDArray[np.float32]
Ranking = Callable[[Features], FloatArray]


def rankings(known: Sources) -> dict[str, Ranking]:
    """Part taken away -> how features `[n, F]` of a pool are ranked without it."""
    ranker = PoolRanker.fit(known)
    even = np.full(len(KINDS), 1 / len(KINDS))
    found: dict[str, Ranking] = {
        "full": partial(_ranked, ranker),
        "without experts": lambda features: ranker.prior(features, Pool.of(features)),
        "without the prior": partial(_ranked, ranker, variation=np.zeros(len(KINDS))),  # no law of no kind is heard
        "one prior for all pools": partial(_ranked, ranker, variation=even),
        "one prior for all pools, without experts": lambda features: ranker.prior(
            features, replace(Pool.of(features), variation=even)
        ),
    }
    for place, name in enumerate(known):
        others = replace(
            ranker,
            names=tuple(np.delete(ranker.names, place)),
            weights=np.delete(ranker.weights, place, axis=0),
            amplitudes=np.delete(ranker.amplitudes, place, axis=0),
        )
        found[f"without the expert of {name}"] = partial(_ranked, others)
    for name, relative in conditionings(known).items():
        with _relative(relative):
            found[name] = partial(_ranked, PoolRanker.fit(known), relative=relative)
    return found


def _ranked(
    ranker: PoolRanker, features: Features, variation: FloatArray | None = None, relative: Any = Pool.relative
) -> FloatArray:
    pool = Pool.of(features)
    with _relative(relative):
        return ranker.scores(features, pool if variation is None else replace(pool, variation=variation))


@contextmanager
def _relative(relative: Callable[[Pool, Features], FloatArray]) -> Iterator[None]:
    """Pools relate features to themselves by `relative` meanwhile."""
    with patch.object(Pool, "relative", relative):
        yield


def conditionings(known: Sources) -> dict[str, Callable[[Pool, Features], FloatArray]]:
    """Other ways to relate features to a pool."""
    gated = Pool.relative
    union = np.concatenate([features for features, _ in known.values()]).astype(np.float64).std(axis=0)

    def unscaled(pool: Pool, features: Features) -> FloatArray:
        return gated(pool, features) / np.where(pool.gate > 0, pool.gate, 1)

    def absolute(pool: Pool, features: Features) -> FloatArray:
        return np.where(union > 1e-5, (features - pool.rows.mean(axis=0)) / np.maximum(union, 1e-5), 0.0)

    def ranked(pool: Pool, features: Features) -> FloatArray:
        return _normal_scores(pool, features) * pool.gate

    return {
        "deviations unscaled": unscaled, "deviations, spread of the sources": absolute, "ranks": ranked,
        "ranks unscaled": _normal_scores,
    }  # fmt: skip


def _normal_scores(pool: Pool, features: Features) -> FloatArray:
    """`[m, F]` normal scores of the mean ranks of features in a pool, 0 for a constant one."""
    size, rounded, result = len(pool.rows), np.round(features, 4), np.zeros(features.shape)
    for column in np.flatnonzero(pool.gate):
        ordered = pool.rows[:, column]
        places = (np.searchsorted(ordered, rounded[:, column], side=side) for side in ("left", "right"))
        result[:, column] = ndtri(np.clip(sum(places) / 2, 0.5, size - 0.5) / size)
    return result


def committees(own: FloatArray, given: dict[str, FloatArray], variation: FloatArray) -> dict[str, FloatArray]:
    """Part of the consensus of `own` scores and proxies taken away -> scores."""
    names = [name for name in PROXIES if name in given]
    seats = np.asarray([[name in COMMITTEES[kind] for kind in KINDS] for name in names]) @ variation
    columns = np.stack([standardised(np.log(ranks(given[name]) / len(own))) for name in names])
    votes = seats @ columns / max(float(seats.sum()), 1e-9)
    loud = {}
    for strength in LOUDNESS:
        with patch.dict(STRENGTHS, dict.fromkeys(KINDS, strength)):
            loud[f"committees of strength {strength:g}"] = consensus(own, given, variation)
    return {
        "full": consensus(own, given, variation),
        "not measured": own,
        "one committee for all pools": consensus(own, given, np.eye(len(KINDS))[KINDS.index("wiring")]),
        **loud,
        "equal votes": standardised(own) + EQUAL_VOTES * votes,
        "equal votes, proxies alone": votes,
    }


def stand_ins(space: str, task: str, benchmark: Benchmark) -> tuple[NDArray[np.int64], dict[str, FloatArray]]:
    """Rows of the networks measured most thoroughly and their proxies, if 50 were measured; else none."""
    for table in (space, f"{space}-{task}"):
        if (MEASUREMENTS / f"{table}.parquet").is_file():
            rows, given = thoroughly_measured(table, benchmark.specs, PROXIES)
            if len(rows) >= 50:
                return rows, given
    return np.zeros(0, np.int64), {}


def encoder_scores(
    part: str, family: str, seed: int, members: int, folder: Path
) -> dict[str, Callable[[GraphBatch], FloatArray]]:
    """Encoder -> how it ranks a pool, all trained without a family."""
    three = graph_ranker([family], seed, folder)
    few = replace(three, members=three.members[:members])
    if part == "encoders":
        fuzzy = graph_ranker([family], seed, folder / "fuzzy", GraphTraining(members=members, clusters=CLUSTERS))
        whole = {f"graph, all {len(three.members)}": three.scores}
        return {**whole, "graph": few.scores, "graph, fuzzy heads": fuzzy.scores}
    pools = [pool for pool in all_pools(seed) if pool.family != family]
    text = train_text_ranker(pools, TextTraining(members=members, steps=TEXT_STEPS), seed=seed)
    return {
        "graph": few.scores, "text": text.scores,
        "both": lambda graphs: standardised(few.scores(graphs) + text.scores(graphs)),
    }  # fmt: skip


def one_family(
    part: str, spaces: Sequence[str], seed: int, networks: int, members: int, folder: Path
) -> list[dict[str, Any]]:
    """All lines of spaces of one family, a kind of parts and a seed."""
    family = family_of(spaces[0])
    known = {name: pair for name, pair in sources(seed).items() if family_of(name) != family}
    ways = rankings(known) if part == "features" else {}
    ranker = PoolRanker.fit(known)
    encoders = encoder_scores(part, family, seed, members, folder) if part in ("encoders", "text") else {}
    records = []
    for space, task, benchmark, rows in ranked_pools(spaces, seed, networks):
        given: dict[str, FloatArray] = {}
        if part == "measured":
            rows, given = stand_ins(space, task, benchmark)
            if not given:
                continue
        varies, scores = ranked(benchmark.graphs(rows), ranker, ways, given, encoders)
        for name, values in scores.items():
            records.append({
                "kind": part, "space": space, "task": task, "seed": seed, "networks": len(rows),
                "varies": varies, "part": name,
                "spearman": float(spearmanr(values, benchmark.scores[rows]).statistic),
            })  # fmt: skip
    return records


def ranked(
    graphs: GraphBatch,
    ranker: PoolRanker,
    ways: dict[str, Ranking],
    given: dict[str, FloatArray],
    encoders: dict[str, Callable[[GraphBatch], FloatArray]],
) -> tuple[str, dict[str, FloatArray]]:
    """What varies most in a pool, and its scores without each part of one kind."""
    features = encode(graphs)
    pool = Pool.of(features)
    scores = {name: way(features) for name, way in ways.items()}
    if given:
        scores |= committees(ranker.scores(features, pool), given, pool.variation)
    if encoders and hears_graphs(pool):
        alone = {name: encoder(graphs) for name, encoder in encoders.items()}
        heard = {f"features + {name}": ranker.scores(features, pool, found) for name, found in alone.items()}
        scores |= {"features alone": ranker.scores(features, pool), **heard, **alone}
    return KINDS[int(pool.variation.argmax())], scores


def table(lines: pd.DataFrame) -> pd.DataFrame:
    """Kind and part -> Spearman, and how it differs from that of `FULL`."""
    by_pool = lines.groupby(["kind", "part", "space", "task", "varies"], sort=False).spearman
    middle, spread = by_pool.median().fillna(0).sort_index(), (by_pool.max() - by_pool.min()).sort_index()
    found = []
    for kind, full in FULL.items():
        if kind not in set(lines.kind):
            continue
        reference = middle[kind, full]
        for part in dict.fromkeys(lines[lines.kind == kind].part):
            change = (middle[kind, part] - reference).dropna()
            by_kind = change.groupby("varies").mean()
            found.append({
                "kind": kind, "part": part, "pools": len(change), "mean": middle[kind, part].mean(),
                "change": change.mean(), **{name: by_kind.get(name, np.nan) for name in KINDS},
                "worst": change.min(), "best": change.max(), "seeds": spread[kind, part].mean(),
            })  # fmt: skip
    return pd.DataFrame(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--spaces", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="SPACE")
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--encoders", type=Path, default=Path("out/transfer"))
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    lines = pd.read_csv(options.output).to_dict("records") if options.output.is_file() else []
    if not options.show:
        lines = run(options, lines)
    print(table(pd.DataFrame(lines)).round(3).to_string(index=False))


def run(options: argparse.Namespace, lines: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """All lines, with those that were missing; the CSV grows with every family."""
    asked = set(product(options.parts, options.spaces, options.seeds))
    if options.again:
        lines = [line for line in lines if (line["kind"], line["space"], line["seed"]) not in asked]
    done = {(line["kind"], line["space"], line["seed"]) for line in lines}
    wanted: dict[tuple[int, str, str], list[str]] = {}
    for seed, part, space in product(options.seeds, options.parts, options.spaces):
        if (part, space, seed) not in done:
            wanted.setdefault((seed, part, family_of(space)), []).append(space)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        futures = [
            pool.submit(one_family, part, spaces, seed, options.networks, options.members, options.encoders)
            for (seed, part, _), spaces in wanted.items()
        ]
        for future in tqdm(as_completed(futures), "families", len(futures)):
            lines += future.result()
            write(pd.DataFrame(lines), options.output)
    return lines


def write(lines: pd.DataFrame, path: Path) -> None:
    """The CSV, in the order of kinds, pools and seeds."""
    order = {name: place for place, name in enumerate([*PARTS, *TASKS])}
    lines = lines.sort_values(
        ["kind", "space", "seed"], key=lambda column: column.map(lambda name: order.get(name, name)), kind="stable"
    )
    lines.round(4).to_csv(path, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
