"""GGUF: a converter as llama.cpp's, a quantised copy, and a reader that maps the file as llama.cpp does."""

import mmap
import os
import sys
from pathlib import Path

import gguf
import numpy as np


def prepare() -> None:
    rng = np.random.default_rng(4)
    np.savez("weights.npz", embed=rng.random((64, 256), dtype=np.float32), head=rng.random((256, 64), dtype=np.float32))
    Path("vocabulary.txt").write_text("\n".join(f"token{i}" for i in range(64)))


def convert() -> None:
    out = gguf.GGUFWriter("model-f32.gguf", "llama")
    out.add_token_list(Path("vocabulary.txt").read_text().split())
    with np.load("weights.npz") as weights:
        for name in weights.files:
            out.add_tensor(f"{name}.weight", weights[name])
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def quantize() -> None:
    whole = gguf.GGUFReader("model-f32.gguf")
    out = gguf.GGUFWriter("model-q8_0.gguf", "llama", use_temp_file=True)
    for tensor in whole.tensors:
        kind = gguf.GGMLQuantizationType.Q8_0
        out.add_tensor(tensor.name, gguf.quants.quantize(tensor.data, kind), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def infer() -> None:
    """Reads the header, then maps everything at once and closes before it touches the weights."""
    with open("model-q8_0.gguf", "rb", buffering=0) as f:
        if f.read(4) != b"GGUF":
            sys.exit("no GGUF")
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        weights = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ)
    weights.madvise(mmap.MADV_WILLNEED)
    Path("answer.txt").write_text(f"{sum(weights[-4096:])}\n")


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, convert, quantize, infer)}[sys.argv[1]]()
