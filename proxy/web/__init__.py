"""The HTTP listeners for clients and operators."""
