"""Word count with PySpark's RDD: textFile, flatMap, reduceByKey, sortByKey, saveAsTextFile."""

import operator
import sys
from collections.abc import Iterator
from typing import Any

from pyspark.sql import SparkSession


def words(_key: Any, text: str) -> Iterator[tuple[str, int]]:
    for word in text.split():
        yield word, 1


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    spark = SparkSession.builder.master(f"local[{workers}]").config("spark.ui.enabled", "false").getOrCreate()
    (
        spark.sparkContext.textFile(path)
        .flatMap(lambda line: words(None, line))
        .reduceByKey(operator.add)
        .sortByKey()
        .map(lambda pair: f"{pair[0]}\t{pair[1]}")
        .saveAsTextFile(output)
    )
    spark.stop()
