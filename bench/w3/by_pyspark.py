"""No-op records with PySpark's RDD, each record a task (numSlices)."""

import operator
import sys

from pyspark.sql import SparkSession

if __name__ == "__main__":
    records, output, workers = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    spark = SparkSession.builder.master(f"local[{workers}]").config("spark.ui.enabled", "false").getOrCreate()
    numbers = spark.sparkContext.parallelize(range(records), numSlices=records)
    counts = dict(numbers.map(lambda value: (value % 7, 1)).reduceByKey(operator.add, numPartitions=workers).collect())
    spark.stop()
    with open(output, "w", encoding="ascii") as file:
        for key in sorted(counts):
            file.write(f"{key}\t{counts[key]}\n")
