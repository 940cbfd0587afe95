"""How the network is trained: annotations, sampling, losses, the loop."""
