"""The cache's published numbers: `python -m benchmarks.caching SUBCOMMAND`."""
