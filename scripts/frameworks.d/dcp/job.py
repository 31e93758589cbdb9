"""torch.distributed.checkpoint on two ranks (torchrun, gloo), and a rank count that changes on load.

usage: job.py prepare | save | load | merge     (save and load under torchrun)
"""

import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor


def prepare() -> None:
    torch.manual_seed(8)
    for rank in range(2):
        torch.save(torch.randn(64, 16), f"shard-{rank}.pt")
    torch.save(torch.zeros(2), "unused.pt")


def state(fill: bool) -> dict:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    weight = torch.zeros(64, 16)
    if fill:
        part = torch.load(f"shard-{dist.get_rank()}.pt").sum()
        dist.all_reduce(part)
        weight += part
    return {"model": {"weight": distribute_tensor(weight, mesh, [Shard(0)])}, "step": torch.tensor(int(fill))}


def save() -> None:
    dist.init_process_group("gloo")
    dcp.save(state(True), checkpoint_id="checkpoint")
    dist.destroy_process_group()


def load() -> None:
    dist.init_process_group("gloo")
    have = state(False)
    dcp.load(have, checkpoint_id="checkpoint")
    weight = have["model"]["weight"]
    assert isinstance(weight, DTensor)
    torch.save(weight.to_local().clone(), f"loaded-{dist.get_rank()}.pt")
    dist.destroy_process_group()


def merge() -> None:
    dcp_to_torch_save("checkpoint", "merged.pt")


if __name__ == "__main__":
    {"prepare": prepare, "save": save, "load": load, "merge": merge}[sys.argv[1]]()
