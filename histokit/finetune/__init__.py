"""Training networks: samples → trained network, run, predictions, curves."""
