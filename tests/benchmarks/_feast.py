"""Feast's own point-in-time join, run by an environment that has Feast and nothing of ours.

`python _feast.py FOLDER STORE`: reads FOLDER/rows.npz and labels.npz; STORE is dask (Feast's default local store) or
duckdb. Writes FOLDER/STORE.npz: the answer of each label, and the seconds that it took.
"""

from __future__ import annotations

import resource
import sys
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

#: Of a join that needs more the machine would die, not the join.
MEMORY = 14 << 30
TTL = timedelta(minutes=5)


def times(moments: np.ndarray) -> Any:
    """Microseconds since 1970 as pandas' times."""
    import pandas as pd

    return pd.to_datetime(moments, unit="us", utc=True)


def main() -> None:
    """Join once and write what came."""
    folder, store = Path(sys.argv[1]), sys.argv[2]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.types import Float64

    rows, labels = np.load(folder / "rows.npz"), np.load(folder / "labels.npz")
    names = [f"feature_{number}" for number in range(rows["numbers"].shape[1])]
    entities = rows["names"]
    data = pd.DataFrame(rows["numbers"], columns=names)
    data["entity"], data["at"], data["made"] = entities[rows["places"]], times(rows["times"]), times(rows["created"])
    data.to_parquet(folder / "rows.parquet")
    del data
    settings = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / f"{store}.db"),
        offline_store={"type": store},
        online_store=None,
        entity_key_serialization_version=3,
    )
    known = FeatureStore(config=settings)
    entity = Entity(name="entity", join_keys=["entity"])
    source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="at", created_timestamp_column="made")
    schema = [Field(name=name, dtype=Float64) for name in names]
    view = FeatureView(name="view", entities=[entity], ttl=TTL, schema=schema, source=source)
    known.apply([entity, view])
    asked = pd.DataFrame({"entity": entities[labels["places"]], "event_timestamp": times(labels["times"])})
    asked["number"] = np.arange(len(asked))
    began = perf_counter()
    found = known.get_historical_features(entity_df=asked, features=[f"view:{name}" for name in names]).to_df()
    took = perf_counter() - began
    found = found.sort_values("number")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    np.savez(
        folder / f"{store}.npz",
        number=found["number"].to_numpy(),
        numbers=found[names].to_numpy(),
        seconds=took,
        memory_mib=memory,
    )


if __name__ == "__main__":
    main()
