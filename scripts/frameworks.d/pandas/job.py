"""pandas: CSV, JSON, pickle and Parquet, in and out."""

import sys
from pathlib import Path

import pandas as pd


def prepare() -> None:
    Path("raw").mkdir()
    people = pd.DataFrame({"id": range(300), "age": [i % 80 for i in range(300)]})
    visits = pd.DataFrame({"id": [i * 3 % 300 for i in range(900)], "cost": [i % 50 for i in range(900)]})
    people.to_csv("raw/people.csv", index=False)
    visits.to_json("raw/visits.jsonl", orient="records", lines=True)
    visits.to_csv("raw/unused.csv.gz", index=False)


def join() -> None:
    people = pd.read_csv("raw/people.csv", usecols=["id", "age"])
    visits = pd.read_json("raw/visits.jsonl", orient="records", lines=True)
    people.merge(visits).to_parquet("joined.parquet")
    people.to_pickle("people.pkl.gz")


def report() -> None:
    joined = pd.read_parquet("joined.parquet", columns=["age", "cost"])
    joined.groupby("age").sum().to_csv("report.csv")


def chunks() -> None:
    """Appends to one file in pieces: one open for each."""
    for i, piece in enumerate(pd.read_csv("raw/people.csv", chunksize=100)):
        piece.to_csv("doubled.csv", mode="a", header=i == 0, index=False)


if __name__ == "__main__":
    {f.__name__: f for f in (prepare, join, report, chunks)}[sys.argv[1]]()
