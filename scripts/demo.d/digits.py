"""Writes scikit-learn's digits data set (1797 images, 8 x 8) as NumPy shards: the data set of the demo, before Atlas is mounted.

usage: digits.py DIR
"""

import sys
from pathlib import Path

import numpy
from sklearn.datasets import load_digits

SHARDS = 6

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
digits = load_digits()
order = numpy.random.default_rng(0).permutation(len(digits.target))
test, train = order[:297], order[297:]
numpy.savez(out / "test.npz", x=digits.data[test] / 16, y=digits.target[test])
for number, rows in enumerate(numpy.array_split(train, SHARDS)):
    numpy.savez(out / f"train-{number}.npz", x=digits.data[rows] / 16, y=digits.target[rows])
