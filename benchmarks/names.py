"""The names that lanes and targets share. Nothing is imported here."""

TINY, CNN, INT8, PICTURES = "tiny", "mobilenet", "mobilenet_int8", "pictures"  # models
MANY = 8  # connections of the saturated lanes
CORES = 2  # callers of the bounds
