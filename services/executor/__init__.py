"""Runs models: text in, tokens or vectors out, on local kernels or on a remote server."""
