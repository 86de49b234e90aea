"""How we authenticate to a registry: challenges, tokens and credentials."""
