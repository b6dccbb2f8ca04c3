"""Make, measure and shrink a causal language model. What the lab makes is an ordinary transformers model."""
