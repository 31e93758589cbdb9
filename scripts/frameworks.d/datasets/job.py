"""Hugging Face datasets: loads JSON lines and CSV, maps them with two processes, keeps its cache beside the data."""

import json
import sys
from pathlib import Path


def prepare() -> None:
    raw = Path("raw")
    raw.mkdir()
    for part in range(2):
        with open(raw / f"part-{part}.jsonl", "w") as f:
            for i in range(400):
                f.write(json.dumps({"id": part * 400 + i, "text": f"word{i % 17} word{i % 5}"}) + "\n")
    with open(raw / "labels.csv", "w") as f:
        f.write("id,label\n")
        f.writelines(f"{i},{i % 3}\n" for i in range(200))
    (raw / "unused.jsonl").write_text('{"id": -1, "text": "nobody reads this"}\n')


def count(row: dict) -> dict:
    return {"words": len(row["text"].split()), "length": len(row["text"])}


def from_json() -> None:
    from datasets import load_dataset

    files = ["raw/part-0.jsonl", "raw/part-1.jsonl"]
    data = load_dataset("json", data_files=files, split="train", cache_dir="cache")
    data = data.map(count, num_proc=2)
    data.save_to_disk("mapped", num_shards=2)


def from_csv() -> None:
    from datasets import load_dataset

    data = load_dataset("csv", data_files="raw/labels.csv", split="train", cache_dir="cache")
    data = data.filter(lambda row: row["label"] != 0, num_proc=2)
    data.to_parquet("labels.parquet")


def train() -> None:
    from datasets import load_from_disk

    data = load_from_disk("mapped")
    Path("vocabulary.json").write_text(json.dumps(sorted({w for row in data for w in row["text"].split()})))


def again() -> None:
    """Loads what is in the cache already: the cache is the input, and nothing is made anew."""
    from datasets import load_dataset

    files = ["raw/part-0.jsonl", "raw/part-1.jsonl"]
    data = load_dataset("json", data_files=files, split="train", cache_dir="cache")
    Path("rows.txt").write_text(f"{data.num_rows}\n")


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, from_json, from_csv, train, again)}[sys.argv[1]]()
