"""Sort in one process, all lines in memory."""

import sys

if __name__ == "__main__":
    path, output = sys.argv[1], sys.argv[2]
    with open(path, "rb") as file:
        lines = file.readlines()
    lines.sort()
    with open(output, "wb") as file:
        file.writelines(lines)
