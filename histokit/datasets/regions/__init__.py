"""Boxes and regions inside images: how they are rounded to pixels, outlined, and kept in files of annotations."""
