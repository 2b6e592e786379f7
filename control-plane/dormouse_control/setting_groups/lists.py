"""Lists in environment variables."""


def words(value: object) -> object:
    """Of a text with commas or spaces between them; anything else is left as it is."""
    return value.replace(",", " ").split() if isinstance(value, str) else value
