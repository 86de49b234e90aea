"""What protects a registry, and us from it: circuit breaker, rate limit, mirrors."""
