"""Programs for developers and researchers: data, training, evaluation, benchmarks."""

from commands.program import sleep_while_waiting

# Before any of them imports torch.
sleep_while_waiting()
