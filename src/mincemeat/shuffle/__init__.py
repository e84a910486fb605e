"""Shuffle: from emitted pairs to groups, by way of blocks on disk.

Reading order: ``block`` (the file format), ``store`` (file names and commit), ``partition`` (key -> partition),
``sizes`` (how many bytes a value holds), ``group`` (the group buffer), ``grouping`` (grouping on the reduce side), with
``regroup`` (dealing out again what does not fit) and ``values`` (a key's values on disk).
"""
