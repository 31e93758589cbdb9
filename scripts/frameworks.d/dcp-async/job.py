"""torch.distributed.checkpoint.async_save on two ranks: from a thread of each rank, and from a process of its own that reads no data.

usage: job.py prepare | thread | process     (the latter two under torchrun)
"""

import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor


def prepare() -> None:
    torch.manual_seed(9)
    for part in range(3):
        torch.save(torch.randn(64, 16), f"part-{part}.pt")
    torch.save(torch.zeros(2), "unused.pt")


def save(kind: str) -> None:
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    weight = torch.zeros(64, 16)
    pending = None
    for step in range(3):
        weight += torch.load(f"part-{step}.pt")
        if pending:
            pending.result()
        state = {"weight": distribute_tensor(weight.clone(), mesh, [Shard(0)]), "step": torch.tensor(step)}
        pending = dcp.async_save(state, checkpoint_id=f"{kind}-{step}", async_checkpointer_type=AsyncCheckpointerType(kind))
    pending.result()
    dist.destroy_process_group()


if __name__ == "__main__":
    prepare() if sys.argv[1] == "prepare" else save(sys.argv[1])
