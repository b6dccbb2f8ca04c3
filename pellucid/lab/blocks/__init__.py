"""The parts of a decoder layer, one idea a file: attention, positions, feed-forward, experts, masks."""
