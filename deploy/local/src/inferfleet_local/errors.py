"""What may go wrong, in words that say what to do about it."""


class ClusterError(Exception):
    """The cluster cannot do what was asked; the message says why and what to change."""


class MissingError(ClusterError):
    """Something that the machine must have is not there; the message says what to install."""
