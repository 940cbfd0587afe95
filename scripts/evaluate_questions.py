"""`python -m scripts.evaluate_questions`: the old name of `python -m scripts.evaluate.questions`."""

from scripts.evaluate.questions import *  # noqa: F403
from scripts.evaluate.questions import main

if __name__ == "__main__":
    main()
