"""Edge under test."""
