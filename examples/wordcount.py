"""Word count: how often each word occurs in the input, the first example of Google's MapReduce paper.

mincemeat run examples/wordcount.py --top 20 FILE_OR_DIRECTORY...
"""

import re

from mincemeat import text as datasource  # noqa: F401 - records are large portions of text, cut at line ends

WORD = re.compile(r"[A-Za-z_]{2,}")  # no single letters: in source code they are mostly escapes and variables


def mapfn(position, text):
    for word in WORD.findall(text):
        yield word, 1


def reducefn(word, counts):
    return sum(counts)


# A sum of sums is the same sum, so a worker may add up what it has before anything is sent.
collectfn = reducefn
