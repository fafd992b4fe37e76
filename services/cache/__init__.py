"""Answers that were already paid for: exact and similar prompts, within one tenant and one fingerprint."""
