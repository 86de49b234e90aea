"""General-purpose building blocks that do not depend on the registry domain."""
