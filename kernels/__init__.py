"""GPU kernels, one folder an operator: Triton source, float64 reference, contract of the plugin, note on its cost."""
