"""The one exception for mistakes a user can mend."""


class UserError(ValueError):
    """A wrong file, key or value of the user's; the message names it and says what to do.

    Commands print the message alone, without a traceback, and exit with status 2.
    """
