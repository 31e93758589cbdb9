"""safetensors: one file, and shards with an index that is written last, as the Hub's models are.

usage: job.py prepare | split | merge
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

SHARDS = 3


def prepare() -> None:
    rng = np.random.default_rng(3)
    save_file({f"layer.{i}": rng.random((64, 64), dtype=np.float32) for i in range(6)}, "model.safetensors")
    save_file({"nothing": np.zeros(3)}, "unused.safetensors")


def split() -> None:
    Path("sharded").mkdir()
    tensors = load_file("model.safetensors")
    where = {}
    for shard in range(SHARDS):
        name = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        part = {key: tensors[key] for key in sorted(tensors)[shard::SHARDS]}
        save_file(part, f"sharded/{name}", metadata={"format": "np"})
        where |= {key: name for key in part}
    Path("sharded/model.safetensors.index.json").write_text(json.dumps({"weight_map": where}, indent=1))


def merge() -> None:
    """Reads one tensor at a time, each shard mapped."""
    where = json.loads(Path("sharded/model.safetensors.index.json").read_text())["weight_map"]
    tensors = {}
    for key, name in where.items():
        with safe_open(f"sharded/{name}", framework="np") as shard:
            tensors[key] = shard.get_tensor(key) * 2
    save_file(tensors, "merged.safetensors")


if __name__ == "__main__":
    {"prepare": prepare, "split": split, "merge": merge}[sys.argv[1]]()
