"""Where things are kept: fitted to the ports."""
