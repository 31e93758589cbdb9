"""NumPy: savez, a memory-mapped array that is made by `open_memmap` and filled by forked workers, and a token file that they read."""

import multiprocessing
import sys
from pathlib import Path

import numpy as np

ROWS, COLUMNS, WORKERS = 4096, 64, 2


def prepare() -> None:
    rng = np.random.default_rng(1)
    rng.integers(0, 500, ROWS * COLUMNS, dtype=np.uint16).tofile("tokens.bin")
    np.savez("scale.npz", mean=np.full(COLUMNS, 250.0), deviation=np.full(COLUMNS, 144.0))
    np.savez_compressed("unused.npz", nothing=np.zeros(3))


def fill(worker: int, tokens: np.memmap, out: np.memmap, mean: np.ndarray, deviation: np.ndarray) -> None:
    part = slice(worker * ROWS // WORKERS, (worker + 1) * ROWS // WORKERS)
    out[part] = (tokens[part] - mean) / deviation
    out.flush()


def features() -> None:
    tokens = np.memmap("tokens.bin", dtype=np.uint16, mode="r", shape=(ROWS, COLUMNS))
    with np.load("scale.npz") as scale:
        mean, deviation = scale["mean"], scale["deviation"]
    out = np.lib.format.open_memmap("features.npy", mode="w+", dtype=np.float32, shape=(ROWS, COLUMNS))
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=fill, args=(w, tokens, out, mean, deviation)) for w in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit(1)
    del out


def train() -> None:
    x = np.load("features.npy", mmap_mode="r")
    weights = np.linalg.lstsq(x[:, :-1], x[:, -1], rcond=None)[0]
    np.save("weights.npy", weights)


def amend() -> None:
    """Changes one row of the features in place, through a shared mapping."""
    x = np.load("features.npy", mmap_mode="r+")
    x[0] = 0
    x.flush()


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, features, train, amend)}[sys.argv[1]]()
