"""LightGBM: trained from a text file, a binary data set made of it, a model in text that is trained on.

usage: job.py prepare | convert | train | resume
"""

import sys

import lightgbm as lgb
import numpy as np

PARAMETERS = {"objective": "regression", "num_threads": 1, "verbose": -1, "deterministic": True, "force_row_wise": True, "min_data_in_leaf": 5}


def prepare() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(500, 5))
    np.savetxt("train.csv", np.column_stack([x.sum(axis=1), x]), delimiter=",", fmt="%.5f")
    np.savetxt("valid.csv", np.column_stack([x[:100].sum(axis=1), x[:100]]), delimiter=",", fmt="%.5f")


def convert() -> None:
    lgb.Dataset("train.csv", params=PARAMETERS).construct().save_binary("train.bin")


def train() -> None:
    data = lgb.Dataset("train.bin", params=PARAMETERS)
    valid = lgb.Dataset("valid.csv", reference=data, params=PARAMETERS)
    lgb.train(PARAMETERS, data, 5, valid_sets=[valid]).save_model("model.txt")


def resume() -> None:
    lgb.train(PARAMETERS, lgb.Dataset("train.csv", params=PARAMETERS), 3, init_model="model.txt").save_model("resumed.txt")


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, convert, train, resume)}[sys.argv[1]]()
