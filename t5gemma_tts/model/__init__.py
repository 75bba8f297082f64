"""The code that travels with a checkpoint. It lies flat: a file imports only its siblings and installed packages."""
