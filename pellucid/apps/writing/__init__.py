"""Writing helpers whose answers carry evidence: which of the points that were given each paragraph used."""
