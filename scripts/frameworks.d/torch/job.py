"""torch.save and torch.load: the zip format, the legacy one, a file object, a temporary name and rename, mapped loading.

usage: job.py prepare | train | resume | export
"""

import os
import sys

import torch


def net() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))


def fit(model: torch.nn.Module, optimizer: torch.optim.Optimizer, data: dict, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(data["x"]), data["y"]).backward()
        optimizer.step()


def prepare() -> None:
    torch.manual_seed(1)
    x = torch.randn(500, 32)
    torch.save({"x": x, "y": (x.sum(1) > 0).long()}, "train.pt")
    torch.save({"x": torch.randn(9, 32)}, "test.pt")
    torch.save({"x": torch.zeros(3)}, "unused.pt")


def train() -> None:
    torch.manual_seed(2)
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    fit(model, optimizer, torch.load("train.pt"), 5)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 5}
    torch.save(state, "checkpoint.pt.tmp")
    os.rename("checkpoint.pt.tmp", "checkpoint.pt")


def resume() -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    state = torch.load("checkpoint.pt", mmap=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    fit(model, optimizer, torch.load("train.pt", mmap=True), 5)
    with open("model.pt", "wb") as f:
        torch.save(model.state_dict(), f)
    torch.save(model.state_dict(), "legacy.pt", _use_new_zipfile_serialization=False)


def export() -> None:
    model = net()
    model.load_state_dict(torch.load("legacy.pt"))
    with open("test.pt", "rb") as f:
        x = torch.load(f)["x"]
    torch.save(model(x).argmax(1), "answers.pt")


if __name__ == "__main__":
    {"prepare": prepare, "train": train, "resume": resume, "export": export}[sys.argv[1]]()
