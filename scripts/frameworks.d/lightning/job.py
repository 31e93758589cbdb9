"""Lightning: fit with validation, ModelCheckpoint that keeps the best two and the last, a resumed fit, prediction from a checkpoint.

usage: job.py prepare | fit | resume | predict
"""

import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset


class Net(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(16, 2)

    def training_step(self, batch: tuple, _: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def validation_step(self, batch: tuple, _: int) -> None:
        self.log("loss", torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1]))

    def predict_step(self, batch: tuple, _: int) -> torch.Tensor:
        return self.layer(batch[0]).argmax(1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(path: str) -> DataLoader:
    data = torch.load(path)
    return DataLoader(TensorDataset(data["x"], data["y"]), batch_size=50)


def prepare() -> None:
    torch.manual_seed(10)
    for name, rows in (("train", 200), ("valid", 100), ("test", 50), ("unused", 5)):
        x = torch.randn(rows, 16)
        torch.save({"x": x, "y": (x.sum(1) > 0).long()}, f"{name}.pt")


def trainer(epochs: int) -> lightning.Trainer:
    keep = ModelCheckpoint("checkpoints", filename="{epoch}", monitor="loss", save_top_k=2, save_last=True)
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=[keep], logger=CSVLogger("logs"), log_every_n_steps=1,
        enable_progress_bar=False, enable_model_summary=False,
    )


def fit(epochs: int, resume: str | None) -> None:
    lightning.seed_everything(11)
    trainer(epochs).fit(Net(), loader("train.pt"), loader("valid.pt"), ckpt_path=resume, weights_only=False)


def predict() -> None:
    net = Net.load_from_checkpoint("checkpoints/last.ckpt", weights_only=False)
    with torch.no_grad():
        answers = net.layer(torch.load("test.pt")["x"]).argmax(1)
    Path("answers.txt").write_text(f"{answers.tolist()}\n")


if __name__ == "__main__":
    {"prepare": prepare, "fit": lambda: fit(3, None), "resume": lambda: fit(5, "checkpoints/last.ckpt"), "predict": predict}[sys.argv[1]]()
