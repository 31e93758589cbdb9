"""DataLoader: workers by fork, spawn and forkserver, kept between epochs; only they read the data, only the parent writes.

usage: job.py prepare | train fork|spawn|forkserver
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

PARTS = 4


class Parts(Dataset):
    """One file for each item."""

    def __len__(self) -> int:
        return PARTS

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.from_numpy(np.load(f"data/part-{i}.npy"))


class Tokens(Dataset):
    """One file that is mapped before the workers are forked: they touch its pages and open nothing."""

    def __init__(self) -> None:
        self.tokens = np.memmap("tokens.bin", dtype=np.int64, mode="r")

    def __len__(self) -> int:
        return len(self.tokens) // 64

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.from_numpy(self.tokens[64 * i : 64 * i + 64].copy())


def prepare() -> None:
    rng = np.random.default_rng(6)
    Path("data").mkdir()
    for i in range(PARTS):
        np.save(f"data/part-{i}.npy", rng.random((16, 64), dtype=np.float32))
    np.save("data/unused.npy", np.zeros(3))
    rng.integers(0, 9, 64 * 64).tofile("tokens.bin")


def train(method: str) -> None:
    total = torch.zeros(64)
    loader = DataLoader(Parts(), num_workers=2, multiprocessing_context=method, persistent_workers=True)
    for epoch in range(2):
        for batch in loader:
            total += batch.sum((0, 1))
        torch.save({"total": total, "epoch": epoch}, f"{method}-{epoch}.pt")
    if method == "fork":
        tokens = torch.stack([batch.sum(1) for batch in DataLoader(Tokens(), num_workers=2, multiprocessing_context=method)])
        torch.save(tokens, "tokens.pt")


if __name__ == "__main__":
    prepare() if sys.argv[1] == "prepare" else train(sys.argv[2])
