"""Settings of all tests."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# A machine that is busy with something else is no fault of ours: no example is timed, and slow generation is no error.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("house")

# Who starts the tests in the background has it ignored, and so would every process that a test sends it to.
signal.signal(signal.SIGINT, signal.default_int_handler)
