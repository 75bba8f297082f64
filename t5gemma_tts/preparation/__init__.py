"""From recordings and transcripts, or folders of the original project, to the dataset of audio codes for training."""
