"""Traces, metrics and logs of running suites."""
