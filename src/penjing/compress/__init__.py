"""From a trained artifact to the best one that fits the machine it will run on."""
