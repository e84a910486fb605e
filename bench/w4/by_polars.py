"""Sort with Polars: native code."""

import os
import sys

if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.environ["POLARS_MAX_THREADS"] = str(workers)  # read when polars is imported
    import polars as pl

    lines = pl.scan_csv(path, has_header=False, separator="\x01", quote_char=None, schema={"line": pl.String})
    lines.sort("line").sink_csv(output, include_header=False, quote_style="never")
