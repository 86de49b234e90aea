"""Schema 1 images: how distribution builds and signs them, byte for byte."""
