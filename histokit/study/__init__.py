"""What composes several steps: prediction on new data, the demonstration, the look at this machine."""
