"""The services of Fulcrum: router, cache, executor and edge on one chassis."""
