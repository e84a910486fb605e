"""Inverted index with DuckDB: native code, no Python function; the limit."""

import sys

import duckdb

if __name__ == "__main__":
    directory, output, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    connection = duckdb.connect(config={"threads": workers})
    connection.execute(
        f"""
        COPY (
            SELECT identifier, string_agg(name, ' ' ORDER BY name)
            FROM (
                SELECT parse_filename(filename) AS name,
                       unnest(list_distinct(regexp_extract_all(content, '[A-Za-z_][A-Za-z0-9_]*'))) AS identifier
                FROM read_text('{directory}/*/*')
            )
            GROUP BY identifier
            ORDER BY identifier
        ) TO '{output}' (HEADER false, DELIMITER '\t', QUOTE '', ESCAPE '')
        """
    )
