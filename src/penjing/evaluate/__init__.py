"""Evaluation: what the test rows say of a model, and how sure that is."""
