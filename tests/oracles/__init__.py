"""Comparisons with torch, transformers and sentence-transformers, which `make test-oracles` installs."""
