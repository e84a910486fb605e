"""Imported by nothing in the package, but a package travels whole."""

EXTRA = "whole"
