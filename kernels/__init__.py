"""GPU kernels, one folder an operator; see docs/decisions for what is here and what is not yet."""
