"""`scripts.train` as a program that is killed on the way."""


def dies_at(step: int) -> str:
    """Source of the command that dies when it begins the step of that number, counted from 0: for `python -c`."""
    return f"""
import os, signal
from fcln.training.trainer import Trainer
from scripts.train.train import main
train_step = Trainer._train_step
def step(self, batch):
    if self.step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return train_step(self, batch)
Trainer._train_step = step
main()
"""
