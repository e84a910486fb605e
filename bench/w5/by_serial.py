"""Word count of four lines in one process."""

import sys

if __name__ == "__main__":
    path, output = sys.argv[1], sys.argv[2]
    counts: dict[str, int] = {}
    with open(path, encoding="utf-8", errors="replace", newline="\n") as lines:
        for line in lines:
            for word in line.split():
                counts[word] = counts.get(word, 0) + 1
    with open(output, "w", encoding="utf-8") as file:
        for word in sorted(counts):
            file.write(f"{word}\t{counts[word]}\n")
