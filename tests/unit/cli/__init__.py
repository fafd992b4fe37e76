"""The chassis under test."""
