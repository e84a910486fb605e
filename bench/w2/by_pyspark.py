"""Inverted index with PySpark's RDD: wholeTextFiles, flatMap, groupByKey, sortByKey, saveAsTextFile."""

import os
import re
import sys
from collections.abc import Iterator

from pyspark.sql import SparkSession

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def identifiers(path: str, text: str) -> Iterator[tuple[str, str]]:
    name = os.path.basename(path)
    for identifier in set(IDENTIFIER.findall(text)):
        yield identifier, name


if __name__ == "__main__":
    directory, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    spark = SparkSession.builder.master(f"local[{workers}]").config("spark.ui.enabled", "false").getOrCreate()
    (
        spark.sparkContext.wholeTextFiles(f"{directory}/*", minPartitions=100)
        .flatMap(lambda record: identifiers(*record))
        .groupByKey()
        .mapValues(sorted)
        .sortByKey()
        .map(lambda pair: f"{pair[0]}\t{' '.join(pair[1])}")
        .saveAsTextFile(output)
    )
    spark.stop()
