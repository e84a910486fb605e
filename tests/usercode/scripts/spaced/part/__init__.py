"""A regular package inside a directory without ``__init__.py``."""

PLACE = "namespace"
