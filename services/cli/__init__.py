"""The `fulcrum` command, and the one place that knows every service."""
