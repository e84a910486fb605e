"""Inverted index with Polars: files read in Python, the rest native code; the limit."""

import os
import sys

if __name__ == "__main__":
    directory, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.environ["POLARS_MAX_THREADS"] = str(workers)  # read when polars is imported
    import polars as pl

    names: list[str] = []
    texts: list[str] = []
    for where, _, files in os.walk(directory):
        for name in files:
            with open(os.path.join(where, name), encoding="utf-8", errors="replace", newline="\n") as text:
                names.append(name)
                texts.append(text.read())
    (
        pl.LazyFrame({"name": names, "text": texts})
        .select("name", pl.col("text").str.extract_all(r"[A-Za-z_][A-Za-z0-9_]*").list.unique().alias("identifier"))
        .explode("identifier", empty_as_null=False)
        .group_by("identifier")
        .agg(pl.col("name").sort().str.join(" "))
        .sort("identifier")
        .collect(engine="streaming")
        .write_csv(output, separator="\t", include_header=False, quote_style="never")
    )
