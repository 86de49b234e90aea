"""Who may pull what: rules, logins, tokens, and the rights that only an upstream can check."""
