"""The command lines; `scripts/` holds a thin door to each."""
