"""The orchestrator: composes encoder, cache, router and executor per request."""
