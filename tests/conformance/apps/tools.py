"""A module beside the script that uses it."""


def shout(text: str) -> str:
    return text.upper() + "!"
