"""HDF5: written in one go, read by selection, extended in place, and joined by a virtual data set that names other files."""

import sys

import h5py
import numpy as np


def prepare() -> None:
    rng = np.random.default_rng(3)
    for part in range(2):
        with h5py.File(f"part-{part}.h5", "w") as f:
            f.create_dataset("x", data=rng.random((300, 20)), chunks=(50, 20), maxshape=(None, 20), compression="gzip")
            f["x"].attrs["part"] = part


def join() -> None:
    layout = h5py.VirtualLayout(shape=(600, 20), dtype="f8")
    for part in range(2):
        layout[part * 300 : (part + 1) * 300] = h5py.VirtualSource(f"part-{part}.h5", "x", shape=(300, 20))
    with h5py.File("joined.h5", "w", libver="latest") as f:
        f.create_virtual_dataset("x", layout)


def mean() -> None:
    """Reads through the virtual data set: HDF5 opens the files that it names."""
    with h5py.File("joined.h5", "r") as f:
        np.save("mean.npy", f["x"][:].mean(axis=0))


def grow() -> None:
    with h5py.File("part-0.h5", "r+") as f:
        f["x"].resize(350, axis=0)
        f["x"][300:] = 1.0


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, join, mean, grow)}[sys.argv[1]]()
