"""Labels of Accel-NASBench (Ahmad et al., DAC 2024): 5,138 trainings on ImageNet, and speed on six accelerators.

Every network was trained for 16 epochs on images that grow from 160 to 192 pixels, and validated at 256. The authors
call this a proxy for full training; accuracies are about ten points lower than a modern recipe gives.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from archcast.datasets.accel_nasbench import STAGES, AccelNASBench, MnasNet, Stage
from archcast.datasets.home import find_table
from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.errors import DataError

TABLE = "accel_nasbench_5k.csv"
EPOCHS = 16

DEVICE_COLUMNS = (
    "latency_zcu102",
    "latency_vck190",
    "throughput_a100",
    "throughput_3090",
    "throughput_tpuv2",
    "throughput_tpuv3",
    "throughput_zcu102",
    "throughput_vck190",
)
"""Milliseconds per batch (of 1 on ZCU102, of 6 on VCK190) and images per second; NaN where a device failed."""


def read(_task: str, _measurement: Measurement) -> LabelTable:
    """The CSV table: `id`, `block0_e`, `block0_k`, `block0_l`, `block0_se` ... `block6_se`, `val_top1` and more.

    Columns: `params`; `macs` as the authors' tool thop counts at 224 x 224, that is ours plus four for every output of
    a batch normalisation and one for every input and output of a global pool; `top5` (%); `train_time` (s); and
    `DEVICE_COLUMNS`. 13 networks were trained twice: two runs in `per_seed`, means in the columns.
    """
    return read_file(find_table("accel-nasbench", [TABLE]))


def read_file(path: Path) -> LabelTable:
    """`read` for a given file. Networks come in the order of their specs, runs in that of their ids."""
    facts = ["macs", "params", "val_top5", "train_time", *DEVICE_COLUMNS]
    try:
        frame = pd.read_csv(path).sort_values("id")
        specs = _specs(frame)
        values = frame[["val_top1", *facts]].astype(np.float64)
    except (ValueError, KeyError, UnicodeDecodeError, pd.errors.ParserError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is not the table of Accel-NASBench ({reason}); get it again") from error
    broken = np.flatnonzero(~np.isfinite(values[["val_top1", "macs", "params"]]).all(axis=1))
    if len(broken):
        raise DataError(
            f"{path}: network {frame['id'].iloc[broken[0]]} lacks its accuracy or size; get the table again"
        )
    space = AccelNASBench()
    strange = next((spec for spec in specs if not space.contains(spec)), None)
    if strange is not None:
        raise DataError(f"{path} names {strange!r}, which is not in the space; get the table again")
    runs = values.assign(spec=specs, run=pd.Series(specs, index=values.index).groupby(specs).cumcount())
    per_seed = runs.pivot(index="spec", columns="run", values="val_top1")
    means = values.groupby(specs)[facts].mean()
    columns = {name: means[name].to_numpy() for name in ("train_time", *DEVICE_COLUMNS)}
    columns["top5"] = means["val_top5"].to_numpy()
    for name in ("params", "macs"):  # the table has millions with six digits
        columns[name] = np.rint(means[name].to_numpy() * 1e6).astype(np.int64)
    return LabelTable(tuple(per_seed.index), per_seed.to_numpy(np.float64), columns)


_FLAGS = {True: True, False: False}
"""Refuses what is neither, such as text."""


def _specs(frame: pd.DataFrame) -> list[str]:
    stages = []
    for number in range(STAGES):
        settings = frame[[f"block{number}_{setting}" for setting in ("e", "k", "l", "se")]]
        stages.append(
            [
                Stage(int(expansion), int(kernel), int(blocks), _FLAGS[squeeze_excite])
                for expansion, kernel, blocks, squeeze_excite in settings.to_numpy(object)
            ]
        )
    space = AccelNASBench()
    return [space.format(MnasNet(tuple(choice))) for choice in zip(*stages, strict=True)]


SOURCE = LabelSource(tasks=("imagenet1k",), measurements=(Measurement("val", EPOCHS),), read=read)
