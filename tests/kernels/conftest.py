"""Puts Triton into its interpreter before any kernel is imported, and keeps hypothesis repeatable."""

import os

from hypothesis import HealthCheck, Phase, settings

os.environ["TRITON_INTERPRET"] = "1"

from tests.kernels.interpreter import repair

repair()
settings.register_profile(
    "kernels",
    max_examples=int(os.environ.get("FULCRUM_KERNEL_EXAMPLES", "12")),
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # the interpreter is too slow to shrink in
    suppress_health_check=[HealthCheck.too_slow],
)
