"""The one exception whose message is written for the person at the screen."""


class IMAGDressingError(ValueError):
    """Something the user can mend: the message says what is wrong, where, what was found and what to do."""
