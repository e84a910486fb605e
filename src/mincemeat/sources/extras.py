"""Packages that come with an extra.

Decides: what is said when one is missing. Knows nothing of what they do.
"""

from __future__ import annotations

import importlib
from typing import Any

from mincemeat.errors import InvalidJob


def imported(module: str, *, extra: str, subject: str) -> Any:
    """The module, for ``subject``. Raises: InvalidJob, one sentence that names the extra, if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InvalidJob(
            f"{subject} needs the package {package}, which cannot be imported ({error}). Install mincemeat[{extra}]."
        ) from error
