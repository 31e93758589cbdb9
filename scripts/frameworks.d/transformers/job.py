"""Hugging Face transformers: a tiny model from a configuration, sharded save_pretrained, Trainer with checkpoints of which the oldest
are deleted, and a resumed Trainer that deletes the checkpoint it came from.

usage: job.py prepare | shard | train | resume | export
"""

import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments


class Tokens(torch.utils.data.Dataset):
    def __init__(self, path: str) -> None:
        self.rows = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict:
        row = torch.from_numpy(self.rows[i].copy())
        return {"input_ids": row, "labels": row}


def prepare() -> None:
    rng = np.random.default_rng(7)
    np.save("tokens.npy", rng.integers(0, 128, (64, 16)))
    np.save("held-out.npy", rng.integers(0, 128, (8, 16)))
    np.save("unused.npy", rng.integers(0, 128, (8, 16)))


def shard() -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=128, n_positions=32, n_embd=64, n_layer=3, n_head=2, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained("base", max_shard_size="200KB")


def train(steps: int, resume: bool) -> None:
    args = TrainingArguments(
        "run", max_steps=steps, save_steps=2, save_total_limit=2, per_device_train_batch_size=8, report_to=[], use_cpu=True,
        disable_tqdm=True, logging_steps=100, dataloader_num_workers=2, dataloader_persistent_workers=True,
    )
    trainer = Trainer(AutoModelForCausalLM.from_pretrained("base"), args, train_dataset=Tokens("tokens.npy"))
    trainer.train(resume_from_checkpoint=resume)


def export() -> None:
    model = AutoModelForCausalLM.from_pretrained("run/checkpoint-10")
    trainer = Trainer(model, TrainingArguments("scratch", report_to=[], use_cpu=True, disable_tqdm=True))
    loss = trainer.evaluate(Tokens("held-out.npy"))["eval_loss"]
    trainer.save_model("final")
    with open("loss.txt", "w") as f:
        print(f"{loss:.3f}", file=f)


if __name__ == "__main__":
    {"prepare": prepare, "shard": shard, "train": lambda: train(6, False), "resume": lambda: train(10, True), "export": export}[sys.argv[1]]()
