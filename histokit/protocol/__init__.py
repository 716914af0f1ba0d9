"""What selecting, training and evaluating share: splits, the leak guard, scorers, estimators, elimination."""
