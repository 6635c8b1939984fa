"""Would others have chosen the same? Settings of ranking unseen pools, chosen anew without each family.

    python -m benchmarks.choices

How features relate to a pool (`archcast.encoders.pool`) and how loud each committee of proxies is
(`archcast.predictor.consensus.STRENGTHS`) were decided with all pools in view. From the lines of `benchmarks.ablation`
(results/ablation.csv) each is decided again without the family that is then ranked: the option whose mean over the
other families (medians over seeds, pools of a family alike) is highest, for committees inside the kind of variation.
Writes results/choices.csv: setting, kind, family, what the others chose, and the Spearman correlation in the family of
that choice, of what is shipped, and of the option that would have been best there.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from archcast.predictor.consensus import STRENGTHS
from archcast.predictor.pretraining import family_of

FOLDER = Path(__file__).parent / "results"
RELATIONS = {"full": "deviations", "deviations unscaled": "deviations unscaled", "ranks": "ranks",
             "ranks unscaled": "ranks unscaled",
             "deviations, spread of the sources": "deviations, spread of the sources"}  # fmt: skip
LOUDNESS = "committees of strength "


def by_family(lines: pd.DataFrame) -> pd.DataFrame:
    """Families x options, Spearman."""
    pools = lines.groupby(["option", "family", "space", "task"]).spearman.median()
    return pools.groupby(["option", "family"]).mean().unstack("option")


def chosen(table: pd.DataFrame, shipped: str) -> list[dict[str, object]]:
    """One line for each family: what the others chose, and what that gives."""
    lines: list[dict[str, object]] = []
    for family in table.index:
        others = table.drop(index=family).mean()
        choice, best = str(others.idxmax()), str(table.loc[family].idxmax())
        lines.append({
            "family": family, "chosen": choice, "spearman": table.at[family, choice], "shipped": shipped,
            "spearman_shipped": table.at[family, shipped], "best": best, "spearman_best": table.at[family, best],
        })  # fmt: skip
    return lines


def main() -> None:
    lines = pd.read_csv(FOLDER / "ablation.csv")
    lines["family"] = lines.space.map(family_of)
    features = lines[(lines.kind == "features") & lines.part.isin(list(RELATIONS))]
    features = features.assign(option=features.part.map(RELATIONS))
    records = [{"setting": "relation to the pool", "kind": "", **line}
               for line in chosen(by_family(features), "deviations")]  # fmt: skip
    loud = lines[(lines.kind == "measured") & (lines.part.str.startswith(LOUDNESS) | (lines.part == "not measured"))]
    loud = loud.assign(option=loud.part.str.removeprefix(LOUDNESS).replace("not measured", "0"))
    for kind, strength in STRENGTHS.items():
        table = by_family(loud[loud.varies == kind])
        records += [{"setting": "strength of the committee", "kind": kind, **line}
                    for line in chosen(table, f"{strength:g}")]  # fmt: skip
    found = pd.DataFrame(records)
    found.round(4).to_csv(FOLDER / "choices.csv", index=False, lineterminator="\n")
    print(found.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
