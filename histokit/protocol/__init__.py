"""What selecting, training and evaluating share: splits, the leak guard, scorers, tuning, elimination."""
