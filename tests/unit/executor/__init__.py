"""The executor's own tests; they need no torch."""
