"""Files that hold many images: arrays, tables of encoded images, archives."""
