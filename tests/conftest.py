"""How every property is tried: the same examples each time, and no deadline, as machines that run tests are busy."""

from hypothesis import settings

settings.register_profile("fulcrum", derandomize=True, database=None, deadline=None)
settings.load_profile("fulcrum")
