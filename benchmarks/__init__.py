"""Every published number has one command here."""
