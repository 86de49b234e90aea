"""HTTP towards clients and operators."""
