"""The parts of the soak: what asks, what goes wrong, what is looked at, and what is said of it in the end."""
