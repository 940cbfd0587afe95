"""What the processor can do, as torch tells."""

import torch


def processor_has(test: str) -> bool:
    """What a test of torch.cpu's says of the processor. They are not public, hence the care; False is always right."""
    return hasattr(torch.cpu, test) and getattr(torch.cpu, test)()
