"""DeepSpeed ZeRO stage 1 on two ranks: a checkpoint, a resumed engine, and the whole weights put together from it.

usage: job.py prepare | train | resume | merge     (train and resume under torchrun)
"""

import sys

import deepspeed
import torch
from deepspeed.utils.zero_to_fp32 import convert_zero_checkpoint_to_fp32_state_dict

CONFIG = {"train_micro_batch_size_per_gpu": 8, "zero_optimization": {"stage": 1}, "zero_allow_untested_optimizer": True}


def prepare() -> None:
    torch.manual_seed(12)
    for rank in range(2):
        torch.save(torch.randn(4, 8, 16), f"shard-{rank}.pt")
    torch.save(torch.zeros(3), "unused.pt")


def train(resume: bool) -> None:
    torch.manual_seed(13)
    deepspeed.init_distributed("gloo")
    model = torch.nn.Linear(16, 16)
    optimizer = torch.optim.Adam(model.parameters())
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=CONFIG)
    if resume:
        engine.load_checkpoint("checkpoints")
    for batch in torch.load(f"shard-{torch.distributed.get_rank()}.pt"):
        loss = engine(batch).square().mean()
        engine.backward(loss)
        engine.step()
    engine.save_checkpoint("checkpoints")
    torch.distributed.destroy_process_group()


def merge() -> None:
    convert_zero_checkpoint_to_fp32_state_dict("checkpoints", "merged")


if __name__ == "__main__":
    {"prepare": prepare, "train": lambda: train(False), "resume": lambda: train(True), "merge": merge}[sys.argv[1]]()
