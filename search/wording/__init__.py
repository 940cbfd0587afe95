"""A question in words, taken apart: what is asked for, and what the network can make of it."""
