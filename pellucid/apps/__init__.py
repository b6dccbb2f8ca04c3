"""Applications whose answers carry their evidence: every result here holds the Trace that says what it rests on."""
