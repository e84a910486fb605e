"""Word count with DuckDB: native code, no Python function; the limit."""

import sys

import duckdb

if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    connection = duckdb.connect(config={"threads": workers})
    connection.execute(
        f"""
        COPY (
            SELECT word, count(*) AS n
            FROM (
                SELECT unnest(string_split(replace(line, chr(9), ' '), ' ')) AS word
                FROM read_csv('{path}', columns = {{'line': 'VARCHAR'}}, header = false, auto_detect = false,
                              delim = chr(1), quote = '', escape = '', new_line = '\\n', max_line_size = 10000000)
            )
            WHERE word <> ''
            GROUP BY word
            ORDER BY word
        ) TO '{output}' (HEADER false, DELIMITER '\t', QUOTE '', ESCAPE '')
        """
    )
