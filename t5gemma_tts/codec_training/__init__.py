"""Training of XCodec2: new models of any size, or fine-tuning of published ones, in full or in part."""
