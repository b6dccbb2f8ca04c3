"""Dialogue: a conversation bounded in tokens, intents, streamed answers, and for each answer the turns it rests on."""
