"""Trains a small neural network on shards of digits. An ordinary training script: it knows nothing of Atlas.

usage: train.py DATA OUT [--epochs N] [--resume CHECKPOINT] [--export MODEL]

Worker processes read the shards; this process trains, and writes a checkpoint every few epochs: to a temporary name
first, then renamed, as careful trainers do.
"""

import argparse
import multiprocessing
import os
from pathlib import Path

import numpy
from safetensors.numpy import load_file, save_file

HIDDEN, CLASSES, RATE, BATCH = 48, 10, 0.25, 50


def read_shard(path):
    """Runs in a worker process."""
    with numpy.load(path) as shard:
        return shard["x"], shard["y"]


def forward(net, x):
    hidden = numpy.maximum(x @ net["w1"] + net["b1"], 0)
    scores = hidden @ net["w2"] + net["b2"]
    odds = numpy.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, odds / odds.sum(axis=1, keepdims=True)


def train_epoch(net, x, y, order):
    for rows in numpy.array_split(order, len(order) // BATCH):
        hidden, odds = forward(net, x[rows])
        error = odds
        error[numpy.arange(len(rows)), y[rows]] -= 1
        back = (error @ net["w2"].T) * (hidden > 0)
        step = RATE / len(rows)
        net["w2"] -= step * hidden.T @ error
        net["b2"] -= step * error.sum(axis=0)
        net["w1"] -= step * x[rows].T @ back
        net["b1"] -= step * back.sum(axis=0)


def accuracy(net, x, y):
    return (forward(net, x)[1].argmax(axis=1) == y).mean()


def save(net, epoch, path):
    """Never leaves half a checkpoint under the final name."""
    temporary = path.with_suffix(".tmp")
    save_file(net | {"epoch": numpy.array([epoch])}, temporary)
    os.rename(temporary, path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--export", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    with multiprocessing.get_context("fork").Pool(2) as readers:
        shards = readers.map(read_shard, sorted(args.data.glob("train-*.npz")))
    x = numpy.concatenate([shard[0] for shard in shards])
    y = numpy.concatenate([shard[1] for shard in shards])
    x_test, y_test = read_shard(args.data / "test.npz")

    random = numpy.random.default_rng(7)
    net = {
        "w1": random.normal(0, 0.2, (x.shape[1], HIDDEN)),
        "b1": numpy.zeros(HIDDEN),
        "w2": random.normal(0, 0.2, (HIDDEN, CLASSES)),
        "b2": numpy.zeros(CLASSES),
    }
    first = 0
    if args.resume:
        net = {name: value.copy() for name, value in load_file(args.resume).items()}
        first = int(net.pop("epoch")[0])
        print(f"resumed from {args.resume.name} after epoch {first}")
    for epoch in range(first + 1, args.epochs + 1):
        train_epoch(net, x, y, random.permutation(len(y)))
        if epoch % args.every == 0:
            save(net, epoch, args.out / f"checkpoint-{epoch}.safetensors")
            print(f"epoch {epoch:3}  accuracy {accuracy(net, x_test, y_test):.3f}")
    if args.export:
        save_file(net, args.export, metadata={"accuracy": f"{accuracy(net, x_test, y_test):.3f}"})
        print(f"exported {args.export.name}")


if __name__ == "__main__":
    main()
