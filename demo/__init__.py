"""The drawn world and the small models that are trained on it: what ``make demo`` shows without any download."""
