"""XGBoost: trained from files, checkpoints by callback, resumed from one, an external-memory cache beside the data.

usage: job.py prepare | train | resume | predict | cached
"""

import sys
from pathlib import Path

import numpy as np
import xgboost as xgb

PARAMETERS = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "seed": 0}


class Parts(xgb.DataIter):
    """Hands over one file at a time; XGBoost keeps what it made of them in its cache on disk."""

    def __init__(self, parts: list[str]) -> None:
        self.parts, self.at = parts, 0
        super().__init__(cache_prefix="cache/matrix")

    def next(self, input_data) -> bool:
        if self.at == len(self.parts):
            return False
        with np.load(self.parts[self.at]) as part:
            input_data(data=part["x"], label=part["y"])
        self.at += 1
        return True

    def reset(self) -> None:
        self.at = 0


def prepare() -> None:
    rng = np.random.default_rng(6)
    for name in ("part-0", "part-1", "test"):
        x = rng.normal(size=(400, 6)).astype(np.float32)
        np.savez(f"{name}.npz", x=x, y=(x.sum(axis=1) > 0).astype(np.float32))


def matrix(name: str) -> xgb.DMatrix:
    with np.load(name) as part:
        return xgb.DMatrix(part["x"], part["y"])


def train() -> None:
    Path("checkpoints").mkdir()
    keep = xgb.callback.TrainingCheckPoint("checkpoints", name="model", interval=4)
    xgb.train(PARAMETERS, matrix("part-0.npz"), 8, callbacks=[keep]).save_model("model.ubj")


def resume() -> None:
    """Goes on from the newest checkpoint with other data."""
    last = max(Path("checkpoints").glob("model_*.ubj"), key=lambda p: int(p.stem.split("_")[1]))
    xgb.train(PARAMETERS, matrix("part-1.npz"), 4, xgb_model=str(last)).save_model("resumed.json")


def predict() -> None:
    model = xgb.Booster(model_file="resumed.json")
    np.save("answers.npy", model.predict(matrix("test.npz")))


def cached() -> None:
    Path("cache").mkdir()
    data = xgb.ExtMemQuantileDMatrix(Parts(["part-0.npz", "part-1.npz"]), max_bin=16)
    xgb.train({**PARAMETERS, "max_bin": 16}, data, 4).save_model("external.ubj")


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, train, resume, predict, cached)}[sys.argv[1]]()
