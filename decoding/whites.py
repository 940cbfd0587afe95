"""What white is in whole numbers of 16 bits that do not say."""

# What scanners and cameras of 10, 12 and 14 bits write as their largest, and all there is.
WHITES_OF_16 = (1023, 4095, 16383, 65535)


def white_of_16_bits(high: float) -> float:
    """The value that stands for white, by the largest one of a picture."""
    return float(next((white for white in WHITES_OF_16 if high <= white), WHITES_OF_16[-1]))
