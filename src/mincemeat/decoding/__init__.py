"""Bytes of a worker as data: keys, values and results are made of them, and nothing else happens.

A worker that knows the password may still lie. What it sends as map output is unpickled in other workers' slots, what
it sends as a result or an exception in the caller's process; and a pickle is a program. So such bytes are read twice:

    bytes --mentions.py--> names, and what is done with them --allowed.py, jobclasses.py--> refused by name, or
          --coding.py--> unpickled, by those names and no others

Nothing is made, called or imported before every name was found on the list. Writers name only what readers accept
(forms.py, arrays.py, frames.py say how), and look at their own names, so that an honest job learns of what is refused
when its first block is written. ``trust_workers=True`` goes without all of this.

coding.py is what others use. Knows nothing of blocks, files, engines.
"""
