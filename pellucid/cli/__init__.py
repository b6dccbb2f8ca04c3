"""The command line: parse, call a room, hand the result to render. Nothing is computed here."""
