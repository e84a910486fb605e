"""Imported from below."""

RINGS = 100
