"""A package whose parts find each other by relative imports."""

from .inner import leaf

__all__ = ["leaf"]
