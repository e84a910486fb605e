"""Inverted index: for each word, the files that it occurs in.

mincemeat run examples/inverted_index.py -o index.jsonl FILE_OR_DIRECTORY...
"""

import re

from mincemeat import files as datasource  # noqa: F401 - a record is a whole file

WORD = re.compile(r"[A-Za-z_]+")


def mapfn(path, text):
    for word in set(WORD.findall(text)):
        yield word, path


def reducefn(word, paths):
    return sorted(paths)
