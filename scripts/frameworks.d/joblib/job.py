"""joblib: estimators dumped with and without compression, arrays mapped on load, a cache of results on disk, worker processes.

usage: job.py prepare | train | predict
"""

import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression

PARTS = 3


def prepare() -> None:
    rng = np.random.default_rng(5)
    Path("data").mkdir()
    for part in range(PARTS):
        x = rng.normal(size=(400, 8))
        np.savez(f"data/part-{part}.npz", x=x, y=(x.sum(axis=1) > 0).astype(int))
    np.savez("data/unused.npz", x=np.zeros(4))
    np.save("test.npy", rng.normal(size=(50, 8)))


def part(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as data:
        return data["x"], data["y"]


def train() -> None:
    parts = joblib.Parallel(n_jobs=2)(joblib.delayed(part)(Path(f"data/part-{i}.npz")) for i in range(PARTS))
    x, y = (np.concatenate(arrays) for arrays in zip(*parts))
    model = LogisticRegression().fit(x, y)
    joblib.dump(model, "model.joblib")
    joblib.dump({"x": x, "model": model}, "bundle.joblib.gz", compress=("gzip", 3))


def predict() -> None:
    model = joblib.load("model.joblib", mmap_mode="r")
    np.savetxt("answers.txt", model.predict(np.load("test.npy")), fmt="%d")


if __name__ == "__main__":
    {"prepare": prepare, "train": train, "predict": predict}[sys.argv[1]]()
