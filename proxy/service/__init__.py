"""What the proxy does: resolve, represent, remember and deliver. It knows ports, not products."""
