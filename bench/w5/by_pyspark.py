"""Word count of four lines with PySpark's RDD."""

import operator
import sys

from pyspark.sql import SparkSession


def count(line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    spark = SparkSession.builder.master(f"local[{workers}]").config("spark.ui.enabled", "false").getOrCreate()
    counts = dict(spark.sparkContext.textFile(path).flatMap(count).reduceByKey(operator.add).collect())
    spark.stop()
    with open(output, "w", encoding="utf-8") as file:
        for word in sorted(counts):
            file.write(f"{word}\t{counts[word]}\n")
