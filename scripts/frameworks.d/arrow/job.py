"""Arrow: Parquet and Arrow files, read with column selection, by threads, through maps, and as a partitioned data set."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.feather as feather
import pyarrow.parquet as pq


def table(seed: int) -> pa.Table:
    n = 2000
    key = [(i * 7 + seed) % 4 for i in range(n)]
    return pa.table({"key": key, "value": [float(i % 13) for i in range(n)], "text": [f"row {i}" for i in range(n)]})


def prepare() -> None:
    Path("raw").mkdir()
    for seed in range(3):
        pq.write_table(table(seed), f"raw/{seed}.parquet", row_group_size=500)
    feather.write_feather(table(3), "raw/3.arrow", compression="uncompressed")


def columns() -> None:
    chosen = pq.read_table("raw/0.parquet", columns=["value"], use_threads=True)
    lazily = ds.dataset(["raw/1.parquet"]).to_table(columns=["key", "value"], filter=pc.field("key") == 2)
    with pa.memory_map("raw/3.arrow") as source:
        mapped = pa.ipc.open_file(source).read_all().select(["value"])
        total = pc.sum(chosen["value"]).as_py() + pc.sum(lazily["value"]).as_py() + pc.sum(mapped["value"]).as_py()
    Path("total.txt").write_text(f"{total}\n")


def partition() -> None:
    whole = ds.dataset([f"raw/{i}.parquet" for i in range(3)])
    ds.write_dataset(whole, "parts", format="parquet", partitioning=["key"], partitioning_flavor="hive", preserve_order=True)


def stream() -> None:
    """One partition is read, and the first file of all for the schema."""
    data = ds.dataset("parts", partitioning="hive")
    with pa.OSFile("stream.arrows", "wb") as sink, pa.ipc.new_stream(sink, pa.schema([("value", pa.float64())])) as out:
        for batch in data.to_batches(columns=["value"], filter=pc.field("key") == 1):
            out.write_batch(batch)


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, columns, partition, stream)}[sys.argv[1]]()
