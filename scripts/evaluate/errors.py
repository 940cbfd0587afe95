"""What the programs here refuse, in one sentence."""


class EvaluationError(Exception):
    """What cannot be measured; the message is one sentence for the person at the keyboard."""
