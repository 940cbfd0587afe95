"""Small worlds and stand-ins that several tests use."""
