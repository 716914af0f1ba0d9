"""One self-contained page of what the store holds of runs, a dataset or a study."""
