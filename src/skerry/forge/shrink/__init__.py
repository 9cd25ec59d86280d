"""A bundle made smaller and faster, and proven not to be worse: the passes in their order, and what is written."""
