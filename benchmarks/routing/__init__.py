"""What routing gives on public outcomes: RouteLLM's measures, the promise, pools of models, robustness."""
