"""Zarr: a chunked array in a directory, one whose chunks are packed into shards, and one in a zip file."""

import sys

import numpy as np
import zarr

SHAPE, CHUNKS = (400, 50), (100, 50)


def prepare() -> None:
    rng = np.random.default_rng(2)
    group = zarr.open_group("raw.zarr", mode="w")
    array = group.create_array("x", shape=SHAPE, chunks=CHUNKS, dtype="f4")
    array[:] = rng.random(SHAPE, dtype=np.float32)
    group.attrs["source"] = "random"


def scale() -> None:
    x = zarr.open_array("raw.zarr/x", mode="r")
    out = zarr.create_array("scaled.zarr", shape=SHAPE, chunks=(20, 50), shards=CHUNKS, dtype="f4")
    out[:] = x[:] * 2


def half() -> None:
    """The first half only: the other chunks are no inputs."""
    x = zarr.open_array("raw.zarr/x", mode="r")
    with zarr.storage.ZipStore("half.zip", mode="w") as store:
        zarr.create_array(store, data=x[: SHAPE[0] // 2], chunks=CHUNKS)


def grow() -> None:
    """Appends to the array: its metadata and a new chunk are written, the old chunks stay as they are."""
    x = zarr.open_array("raw.zarr/x", mode="r+")
    x.append(np.ones(CHUNKS, dtype="f4"))


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, scale, half, grow)}[sys.argv[1]]()
