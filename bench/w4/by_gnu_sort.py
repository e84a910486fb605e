"""Sort with GNU sort in 512 MB: bytes compared, as many threads as the others have workers."""

import os
import sys

if __name__ == "__main__":
    path, output, workers = sys.argv[1], sys.argv[2], sys.argv[3]
    command = ["sort", f"--parallel={workers}", "--buffer-size=512M", "-T", os.path.dirname(output), "-o", output, path]
    os.execvpe(command[0], command, {**os.environ, "LC_ALL": "C"})
