"""Model definitions, the checkpoints they are filled from and the backends they are emitted to."""
