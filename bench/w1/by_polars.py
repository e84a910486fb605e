"""Word count with Polars: native code, no Python function; the limit."""

import os
import sys

if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.environ["POLARS_MAX_THREADS"] = str(workers)  # read when polars is imported
    import polars as pl

    lines = pl.scan_csv(
        path, has_header=False, new_columns=["line"], separator="\x01", quote_char=None, schema={"line": pl.String}
    )
    words = lines.select(pl.col("line").str.replace_all("\t", " ", literal=True).str.split(" ").alias("word"))
    counts = words.explode("word").filter(pl.col("word") != "").group_by("word").agg(pl.len().alias("n")).sort("word")
    counts.collect(engine="streaming").write_csv(output, separator="\t", include_header=False, quote_style="never")
