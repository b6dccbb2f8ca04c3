"""Text to batches: documents, a tokenizer, one packed array, and which blocks of it a step reads."""
