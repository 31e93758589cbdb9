"""WebDataset: shards written by ShardWriter, read by forked workers, shuffled into new shards."""

import json
import multiprocessing
import sys
from pathlib import Path

import webdataset as wds

SHARDS = 4


def prepare() -> None:
    with wds.ShardWriter("train-%03d.tar", maxcount=25, verbose=0) as out:
        for i in range(25 * SHARDS):
            out.write({"__key__": f"{i:05}", "txt": f"sample {i}", "json": {"label": i % 3}})


def read(shards: list[str], back: multiprocessing.SimpleQueue) -> None:
    data = wds.WebDataset(shards, shardshuffle=False).decode()
    back.put([sample["json"]["label"] for sample in data])


def train() -> None:
    """Two workers, each with its own shards, of which the last is left out."""
    fork = multiprocessing.get_context("fork")
    back = fork.SimpleQueue()
    shards = [f"train-{i:03}.tar" for i in range(SHARDS - 1)]
    workers = [fork.Process(target=read, args=(shards[w::2], back)) for w in range(2)]
    for worker in workers:
        worker.start()
    labels = [label for _ in workers for label in back.get()]
    for worker in workers:
        worker.join()
    Path("model.json").write_text(json.dumps({label: labels.count(label) for label in range(3)}))


def repack() -> None:
    data = wds.WebDataset(f"train-{{000..{SHARDS - 1:03}}}.tar", shardshuffle=False).shuffle(50, seed=1)
    with wds.TarWriter("shuffled.tar.gz") as out:
        for sample in data:
            out.write({"__key__": sample["__key__"], "txt": sample["txt"]})


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, train, repack)}[sys.argv[1]]()
