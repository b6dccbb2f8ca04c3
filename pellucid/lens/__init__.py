"""Look inside a model: next tokens, decodings, surprisal, what each layer would say, hidden states, anatomy."""
