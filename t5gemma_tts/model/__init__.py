"""Code saved with every checkpoint. Modules import only siblings and installed packages, as remote code requires."""
