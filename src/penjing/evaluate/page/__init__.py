"""The report as one self-contained page, and as a model card."""
