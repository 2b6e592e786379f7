"""What callers get: OpenAI's objects and streams from an engine's results. Pure."""
