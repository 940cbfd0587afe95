"""What should not be."""


class Fault(Exception):
    """What should not be, in a sentence."""


def raise_if(fault: object) -> None:
    """Raises Fault if it says anything."""
    if fault:
        raise Fault(str(fault))
