"""Training of XCodec2: new ones of any size, or published ones further, whole or the decoder alone."""
