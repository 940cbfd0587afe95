"""How many threads a command computes in."""

import os


def compute_in_one_thread() -> None:
    """Have numpy multiply matrices in this thread alone, unless the environment says otherwise.

    To be called before numpy is imported. A question's matrices are small: a second thread saves nothing of the whole
    command and costs 0.2 s of it.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
