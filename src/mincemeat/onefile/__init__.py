"""``mincemeat.py``, the one file: the whole package as text that runs with nothing but Python.

::

    building.py   package and cloudpickle  -->  mincemeat.py      by tools/onefile.py, by the wheel's build,
                                                                   and by a server that offers it to its workers
    importer.py   what stands at the head of that file, and imports the rest of it
    published.py  the bytes of the file that goes with this very process, and their SHA-256

The first two do not travel in the file: it need not make itself.
"""
