"""Retrieval: an index of documents, answers from it, and for each sentence of an answer the passages it rests on."""
