"""From data to a proven artifact: the stages in order. The command line and the public API call these functions."""
