"""Imported inside a function only, so the caller never imports it."""

ANSWER = 42
