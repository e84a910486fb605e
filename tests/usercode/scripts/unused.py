"""Nothing of any job imports it."""
