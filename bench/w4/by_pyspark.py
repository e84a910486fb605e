"""Sort with PySpark's RDD: textFile, sortBy, saveAsTextFile."""

import sys

from pyspark.sql import SparkSession

if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    spark = SparkSession.builder.master(f"local[{workers}]").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.textFile(path).sortBy(lambda line: line).saveAsTextFile(output)
    spark.stop()
