"""From samples to pixels: files as they were ingested, decoded ahead."""
