"""The shipped prior: what public outcomes of many models tell of prompts, with the script that fitted it."""
