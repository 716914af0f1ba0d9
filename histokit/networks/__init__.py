"""A backbone on a device: what it is resolved to, its network cut at layers, its inputs, batches and precision."""
