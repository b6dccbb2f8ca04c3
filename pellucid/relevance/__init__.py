"""Query to text: is this text about the query, and which of its words matter for it?

    model.relevance("capital gains", text).show()

The model is asked about query and text, and the gradient of its own answer says which tokens of the text that answer
rests on. ``prompts`` holds the wordings, ``modes`` how each is read, ``windows`` cuts long texts, ``degrees`` judges
whole texts forward only, ``score`` gives tokens their scores, ``result`` is what comes out.
"""
