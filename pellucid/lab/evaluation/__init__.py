"""Measure a language model: how likely held-out text is, how good its own text is, what it can do."""
