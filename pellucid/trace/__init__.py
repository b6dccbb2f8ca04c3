"""The heart: what made the model say that. ``explain.py`` is the way in; ``result.py`` what comes out."""
