"""Training, and what is fitted afterwards: the default scoring and the confidences."""
