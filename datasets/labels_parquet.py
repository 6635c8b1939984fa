"""Reading Parquet label tables with errors that name the file and the next step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from archcast.errors import DataError


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The table at `path`, all columns or just `columns`.

    Raises:
        DataError: the file is truncated, not Parquet, or lacks one of `columns`.
    """
    try:
        present = pq.read_schema(path).names
        missing = [name for name in columns or () if name not in present]
        if missing:
            raise DataError(f"{path} has no column {missing[0]!r}; it has: {', '.join(present)}")
        frame: pd.DataFrame = pq.read_table(path, columns=list(columns) if columns else None).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is truncated or not a Parquet file ({error}); write or fetch it again") from error
    return frame
