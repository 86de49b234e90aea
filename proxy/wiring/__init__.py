"""The composition root: builds every part from the settings, and connects them."""
