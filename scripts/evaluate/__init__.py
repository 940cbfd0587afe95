"""The figures of docs and model card, measured on labelled photographs."""
