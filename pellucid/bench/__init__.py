"""Measure methods on whole datasets: which of them are right, and what they cost."""
