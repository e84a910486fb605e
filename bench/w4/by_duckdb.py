"""Sort with DuckDB in 512 MB: native code."""

import os
import sys

import duckdb

if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    scratch = os.path.dirname(output)
    connection = duckdb.connect(config={"threads": workers, "memory_limit": "512MB", "temp_directory": scratch})
    connection.execute(
        f"""
        COPY (
            SELECT line
            FROM read_csv('{path}', columns = {{'line': 'VARCHAR'}}, header = false, auto_detect = false,
                          delim = chr(1), quote = '', escape = '', new_line = '\\n')
            ORDER BY line
        ) TO '{output}' (HEADER false, DELIMITER '\t', QUOTE '', ESCAPE '')
        """
    )
