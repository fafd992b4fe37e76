"""The router: which model answers which prompt, and what that is expected to cost."""
