"""Who may import whom, and what a file must look like."""
