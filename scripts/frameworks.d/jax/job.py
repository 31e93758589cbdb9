"""JAX with Flax and Orbax: checkpoints written by threads and renamed as directories, the oldest deleted, a run that goes on from the last.

usage: job.py prepare | train | resume | background
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import linen as nn

STEPS = 3


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.relu(nn.Dense(16)(x)))


network = Network()


@jax.jit
def step(weights, x, y):
    slope = jax.grad(lambda w: jnp.mean((network.apply(w, x)[:, 0] - y) ** 2))(weights)
    return jax.tree.map(lambda w, g: w - 0.01 * g, weights, slope)


def prepare() -> None:
    rng = np.random.default_rng(8)
    for name in ("first", "second"):
        x = rng.normal(size=(200, 4)).astype(np.float32)
        np.savez(f"{name}.npz", x=x, y=x.sum(axis=1))


def manager(where: str, background: bool) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=background)
    return ocp.CheckpointManager(Path(where).absolute(), options=options)


def fit(checkpoints: ocp.CheckpointManager, data: str, weights, start: int):
    with np.load(data) as part:
        x, y = part["x"], part["y"]
    for n in range(start, start + STEPS):
        weights = step(weights, x, y)
        checkpoints.save(n, args=ocp.args.StandardSave(weights))
    checkpoints.wait_until_finished()
    checkpoints.close()


def blank():
    return network.init(jax.random.key(0), jnp.ones((1, 4)))


def train() -> None:
    fit(manager("checkpoints", False), "first.npz", blank(), 0)


def resume() -> None:
    checkpoints = manager("checkpoints", False)
    last = checkpoints.latest_step()
    weights = checkpoints.restore(last, args=ocp.args.StandardRestore(blank()))
    fit(checkpoints, "second.npz", weights, last + 1)


def background() -> None:
    fit(manager("background", True), "first.npz", blank(), 0)


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, train, resume, background)}[sys.argv[1]]()
